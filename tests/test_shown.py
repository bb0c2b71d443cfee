"""How a command shows what it does: lines of progress in a pipe, `--quiet`, `--json -`, what a shell offers, exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

import excise
from excise.attacks import attacks
from excise.cli import app, screen
from excise.cli.application import COMMANDS
from excise.cli.command import Command
from excise.cli.completion import ASKED
from excise.cli.plain_progress import PlainProgress
from excise.evaluation.suites import suites
from excise.files import STDOUT
from excise.methods import methods
from excise.models.built_in import BUILT_IN
from excise.models.drawing import Offload
from excise.progress import silent
from excise.requests.clashes import check_apart
from excise.requests.fields import JsonFile
from excise.requests.request import Request
from excise.results.result_file import ResultFile

SRC = Path(excise.__file__).parents[1]


@pytest.fixture(autouse=True)
def no_lines_of_progress() -> None:
    """Here they are there."""


class Counted(ResultFile):
    """A result of a command."""

    WHAT = "a number"
    kind: str = "counted"
    name: str


class CountRequest(Request):
    """Count."""

    json_file: JsonFile

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return ()


def count(request: CountRequest) -> None:
    with screen.progress() as progress:
        progress("counting", 0, 3)
        if request.json_file is not None:
            Counted(name="cät 🐈").write(request.json_file)
    screen.table(("number",), [("three",)])
    screen.say("all counted")


def played(*typed: str) -> tuple[str, str]:
    """What the command prints on stdout and on stderr."""
    import typer

    own = typer.Typer()
    Command("count", CountRequest, count, "").add_to(own)
    result = CliRunner().invoke(own, list(typed))
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestLines:
    def lines(self) -> tuple[PlainProgress, Clock, list[str]]:
        clock, told = Clock(), list[str]()
        return PlainProgress(told.append, 60.0, clock), clock, told

    def test_one_when_a_stage_begins(self) -> None:
        progress, clock, told = self.lines()
        progress("loading the model", 0, 1)
        clock.now += 5
        progress("loading the model", 1, 1)
        for done in range(600):
            progress("erasing", done, 600)
        assert told == ["[0:00] loading the model", "[0:05] erasing, 0 of 600"]

    def test_one_a_minute_at_most(self) -> None:
        progress, clock, told = self.lines()
        progress("erasing", 10, 100)
        for second in range(1, 301):
            clock.now += 1
            progress("erasing", 10 + second // 10, 100)
            progress.remind()
        assert [line[:6] for line in told] == ["[0:00]", "[1:00]", "[2:00]", "[3:00]", "[4:00]", "[5:00]"]
        assert told[1] == "[1:00] erasing, 16 of 100, about 14:00 left", "what a resumed run found done took no time"

    def test_a_stage_that_comes_again_is_timed_anew(self) -> None:
        """As in a benchmark, whose cells have the same stages."""
        progress, clock, told = self.lines()
        progress("erasing", 0, 10)
        clock.now += 600
        progress("erasing", 10, 10)
        progress("erasing", 0, 10)
        clock.now += 60
        progress("erasing", 5, 10)
        progress.remind()
        assert told == ["[0:00] erasing, 0 of 10", "[11:00] erasing, 5 of 10, about 1:00 left"]

    def test_one_though_nothing_is_heard(self) -> None:
        progress, clock, told = self.lines()
        clock.now += 90
        progress.remind()
        assert told == [], "nothing has begun"
        progress("loading the model", 0, 1)
        clock.now += 59
        progress.remind()
        clock.now += 3541
        progress.remind()
        assert told == ["[1:30] loading the model", "[1:01:30] loading the model"]

    def test_a_thread_tells_what_lasts_and_ends_with_the_run(self) -> None:
        before, heard = threading.active_count(), threading.Semaphore(0)
        with PlainProgress(lambda line: heard.release(), every=0.001).watched() as progress:
            progress("loading the model", 0, 1)
            assert all(heard.acquire(timeout=30) for _ in range(3))
        assert threading.active_count() == before

    def test_a_pipe_gets_them_without_control_characters(self) -> None:
        _, err = played()
        assert err == "[0:00] counting, 0 of 3\n"

    def test_nobody_needs_to_listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed)
        screen.tell("a line")


class TestQuiet:
    def test_leaves_results_alone(self) -> None:
        assert played("--quiet") == played("-q") == (played()[0], "")

    def test_ends_with_the_command(self) -> None:
        played("--quiet")
        assert not screen.is_quiet() and played()[1]

    def test_no_bar_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with screen.as_wished(screen.Wish(quiet=True)), screen.progress() as progress:
            assert progress is silent

    def test_errors_are_said(self) -> None:
        done = CliRunner().invoke(app, ["erase", "cta", "--quiet"])
        assert done.exit_code == 2 and done.stderr.startswith("excise: error: unknown")


class TestJson:
    def test_stdout_has_nothing_else(self) -> None:
        out, err = played("--json", "-")
        assert json.loads(out)["name"] == "cät 🐈" and out.isascii()
        assert [line.strip() for line in err.splitlines()] == ["[0:00] counting, 0 of 3", "number", "three", "all counted"]

    def test_quiet_leaves_json_alone(self) -> None:
        assert played("--json", "-", "--quiet") == (played("--json", "-")[0], "")

    def test_a_config_may_ask_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "count.yaml").write_text('json: "-"\n', encoding="utf-8")
        assert played("--config", str(tmp_path / "count.yaml")) == played("--json", "-")

    def test_a_dry_run_has_no_result(self) -> None:
        out, err = played("--json", "-", "--dry-run")
        assert out == "" and "json" in err

    def test_a_bar_is_not_drawn_over_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)
        with screen.as_wished(screen.Wish(aside=True)), screen.progress() as progress:
            assert isinstance(progress, PlainProgress)

    def test_beside_a_bar_it_reaches_stdout(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """A bar takes what is printed meanwhile to where it is drawn, if nobody keeps it from that."""
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with screen.as_wished(screen.Wish(aside=True)), screen.progress() as progress:
            progress("counting", 0, 3)
            Counted(name="x").write(STDOUT)
        out, err = capsys.readouterr()
        assert json.loads(out)["name"] == "x" and "counting" in err

    @pytest.mark.parametrize("verb", ["erase cat --out {0}/cat", "evaluate --concept cat", "measure cat"])
    def test_it_is_no_file(self, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("-").mkdir()
        done = CliRunner().invoke(app, [*verb.format(tmp_path).split(), "--json", "-", "--dry-run"])
        assert (done.exit_code, done.stdout) == (0, ""), done.output

    def test_it_is_in_nobodys_way(self) -> None:
        check_apart(CountRequest.model_validate({"json": "-"}), Path("-"))

    def test_of_a_whole_command(self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
        done = CliRunner().invoke(app, ["measure", "cat", "--model", str(tiny_canvas), "--budget", "200", "--json", "-"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["kind"] == "information"
        assert "[0:00] loading the model\n" in done.stderr and "nats" in done.stderr
        assert not list(tmp_path.glob("*-*"))


def offered(words: str, shell: str = "fish", **environment: str) -> list[str]:
    """What a shell is offered after these words, of which the last one is being typed."""
    given = {"bash": {"COMP_WORDS": words.replace(" ", "\n"), "COMP_CWORD": str(words.count(" "))}}
    told = given.get(shell, {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**told, ASKED: f"complete_{shell}", **environment}.items():
            patch.setenv(name, value)
        done = CliRunner().invoke(app, [])
    assert isinstance(done.exception, SystemExit | None) and done.exit_code in (0, 1) and done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines() if line]


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "fish"])
    @pytest.mark.parametrize(
        "words, expected",
        [
            ("excise erase cat --method ", methods()),
            ("excise bench --methods ", methods()),
            ("excise queue add q.yaml cat --method ", methods()),
            ("excise audit out --attacks ", {"all", *attacks()}),
            ("excise suite run ", suites()),
            ("excise bench --suite ", suites()),
            ("excise generate x --model ", BUILT_IN),
            ("excise prune ", BUILT_IN),
            ("excise info ", BUILT_IN),
            ("excise erase cat --offload ", get_args(Offload)),
            ("excise list ", {"methods", "attacks", "models", "concepts"}),
            ("excise suite ", {"list", "run", "table"}),
        ],
    )
    def test_of_names(self, words: str, expected: list[str], shell: str) -> None:
        assert set(offered(words, shell)) == set(expected)

    def test_of_commands_imports_none_of_them(self) -> None:
        assert set(offered("excise ")) == set(COMMANDS)

    @pytest.mark.parametrize(
        "words",
        ["erase ", "evaluate --concept ", "measure ", "measure cat --against ", "audit --concept ", "bench --concepts "],
    )
    def test_of_concepts(self, words: str) -> None:
        assert {"cat", "object:cat", "pixel art", "style:sketch"} <= {*offered(f"excise {words}")}

    def test_of_the_concepts_of_a_model(self, tiny_canvas: Path, tmp_path: Path) -> None:
        about = json.loads((tiny_canvas / "excise.json").read_text(encoding="utf-8"))
        about["concepts"] = [{"name": "zeppelin", "kind": "object", "phrases": ["a zeppelin"]}]
        (tmp_path / "excise.json").write_text(json.dumps(about), encoding="utf-8")
        (tmp_path / "run.yaml").write_text(f"model: {tmp_path}\n", encoding="utf-8")
        for words in (f"--model {tmp_path}", f"--config {tmp_path}/run.yaml", f"--model={tmp_path}"):
            assert offered(f"excise erase {words} z") == ["zeppelin"]
            assert offered(f"excise erase {words} ca") == []

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_of_no_name_that_a_shell_acts_upon(self, shell: str, tmp_path: Path) -> None:
        names = [
            "zeppelin",
            *(
                f"z{sign}reboot"
                for sign in ("\\$(", "`", "'", '"', ";", "\n", "\x1b[2J", "*", "|", "&", "(", ")", "<", "~", "\\")
            ),
        ]
        concepts = [{"name": name, "kind": "object", "phrases": ["a thing"]} for name in names]
        (tmp_path / "excise.json").write_text(json.dumps({"name": "x", "concepts": concepts}), encoding="utf-8")
        (found,) = offered(f"excise erase --model {tmp_path} z", shell)
        assert "zeppelin" in found and "reboot" not in found

    def test_of_what_a_queue_asks_for(self, tmp_path: Path) -> None:
        (tmp_path / "q.yaml").write_text(
            "model: canvas\nrequests:\n- concept: cat\n- concept: style:sketch\n", encoding="utf-8"
        )
        found = offered(f"excise queue withdraw {tmp_path}/q.yaml ")
        assert found == ["cat", "sketch", "object:cat", "style:sketch"]

    @pytest.mark.parametrize(
        "words, expected",
        [
            ("excise erase style : sk", ["sketch"]),
            ("excise erase style : pix", [r"pixel\ art"]),
            ("excise erase style:pix", [r"pixel\ art"]),
            ("excise evaluate --concept style : sk", ["sketch"]),
            ("excise erase --model = canvas-w", ["canvas-without-cat"]),
            ("excise erase --model = canvas cat pix", [r"pixel\ art"]),
        ],
    )
    def test_bash_takes_words_apart(self, words: str, expected: list[str]) -> None:
        assert offered(words, "bash") == expected

    @pytest.mark.parametrize("shell", ["bash", "fish", "zsh", "powershell", "nonsense"])
    @pytest.mark.parametrize(
        "words",
        [
            "excise erase --model /nowhere ",
            "excise erase --config /nowhere.yaml --model /nowhere ",
            "excise erase --config {0}/damaged.yaml --model {0} ",
            "excise restore /nowhere --concept ",
            "excise restore {0} --concept ",
            "excise queue withdraw {0}/damaged.yaml ",
            "excise bogus ",
            "excise suite bogus ",
            "excise erase cat --seed ",
            "excise report ",
        ],
    )
    def test_what_is_wrong_is_no_error(self, words: str, shell: str, tmp_path: Path) -> None:
        (tmp_path / "damaged.yaml").write_text("a: [\x01", encoding="utf-8")
        (tmp_path / "excise.json").write_text("{", encoding="utf-8")
        assert [line for line in offered(words.format(tmp_path), shell) if line != "_files"] == []

    def test_bash_says_nonsense(self) -> None:
        assert offered("", "bash", COMP_CWORD="x") == offered("excise", "bash", COMP_CWORD="7") == []


ANSWER = """
import sys
from excise.cli import main
try:
    main()
finally:
    print({"torch", "diffusers", "transformers"} & {*sys.modules}, [name for name in sys.modules if name.startswith("excise.cli.q")])
"""


@pytest.mark.parametrize("words", ["", "erase\n", "audit\nx\n--attacks\n", "suite\nrun\n"])
def test_a_shell_is_answered_without_torch(words: str) -> None:
    told = {"COMP_WORDS": f"excise\n{words}", "COMP_CWORD": str(1 + words.count("\n")), ASKED: "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", ANSWER],
        env={**os.environ, "PYTHONPATH": str(SRC), **told},
        capture_output=True,
        text=True,
        timeout=600,
    )
    *found, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr, last) == (0, "", "set() []") and len(found) > 3


class TestExitCodes:
    def test_help_and_docs_say_them(self) -> None:
        printed = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.split())
        page = (SRC.parent / "docs" / "reference" / "terminal.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
        assert rows == ["0", "1", "2", "129", "130", "143"]
        assert all(re.search(rf"\b{code}\b", printed.partition("Exit codes:")[2]) for code in rows)

    def test_as_a_module(self) -> None:
        for typed, code in ((["--help"], 0), (["erase", "cta"], 2)):
            done = subprocess.run(
                [sys.executable, "-m", "excise", *typed], env={**os.environ, "PYTHONPATH": str(SRC)},
                capture_output=True, text=True, timeout=600,
            )  # fmt: skip
            assert done.returncode == code and ("Usage: excise " in done.stdout) == (code == 0), done.stderr


def test_where_no_thread_can_begin_stages_are_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_room)
    told: list[str] = []
    with PlainProgress(told.append).watched() as progress:
        progress("erasing", 0, 3)
    assert len(told) == 1 and "erasing, 0 of 3" in told[0]
