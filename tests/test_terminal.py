"""What reaches the screen: one line for every error, text that can be seen, in every encoding, wherever the streams lead."""

from __future__ import annotations

import ast
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import excise
from excise.cli import app, screen
from excise.cli.errors import plain_warnings
from excise.report import edit_card
from excise.visible import visible

CLI = Path(excise.__file__).parent / "cli"

SIGNS = [
    "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x08\x08\x08", "\r", "\n", "\t", "\x00", "\x7f", "\u202e", "\u2066", "\u200b", "\u2028",
    "\ufeff", "\U000e0041", "\udcff", "[red]", "[/]", "$x$", "猫", "é", "±", "%s", "{0}", "\\", '"', "'", "a", " ",
]  # fmt: skip
"""What terminals, rich, matplotlib and format strings act upon."""


def hostile(count: int, without: str = "") -> list[str]:
    draw = random.Random(9)
    known = [sign for sign in SIGNS if sign not in without]
    return ["x" + "".join(draw.choices(known, k=6)) + "y" for _ in range(count)]


def run(*arguments: object, charset: str = "utf-8") -> tuple[int, str, str]:
    result = CliRunner(charset=charset).invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.stdout_bytes.decode(charset), result.stderr_bytes.decode(charset)


def unseen(text: str) -> list[str]:
    """Characters of a text, new lines apart, that act on a terminal or hide."""
    return [sign for sign in text if sign != "\n" and unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


class TestOneLine:
    @pytest.mark.parametrize(
        "typed, words",
        [
            ("earse cat", "unknown command 'earse'; did you mean 'erase'?"),
            ("suite rum", "unknown command 'rum'; did you mean 'run'? known: list, run, table"),
            ("canvas drwa", "did you mean 'draw'?"),
            ("erase cat --sead 1", "unknown option '--sead'; did you mean '--seed'? known: --kind, "),
            ("--debgu list", "did you mean '--debug'?"),
            ("suite run x --sets a=b", "did you mean '--set'?"),
            ("erase -z", "unknown option '-z'"),
            ("erase cat --seed", "option '--seed' requires an argument"),
            ("erase cat --overwrite=3", "option '--overwrite' does not take a value"),
            ("info a b", "unexpected extra argument"),
            ("list", "missing option: 'what'"),
            ("list methodes", "did you mean 'methods'?"),
            ("generate --n", "option '--n' requires an argument"),
            ("erase \x1b[2J\u202e --\x1bx", "unknown option '--\\x1bx'"),
        ],
    )
    def test_for_what_is_mistyped(self, typed: str, words: str) -> None:
        code, out, err = run(*typed.split(" "))
        assert (code, out) == (2, "") and err.count("\n") == 1, err
        assert err.startswith("excise: error: ") and words in err and not unseen(err)

    def test_no_command_shows_the_commands(self) -> None:
        for typed in ([], ["suite"], ["canvas"]):
            code, out, _ = run(*typed)
            assert code == 2 and "Usage: excise" in out and "Commands" in out

    def test_warnings_of_the_package(self) -> None:
        error = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", error)
            with plain_warnings():
                warnings.simplefilter("always")
                warnings.warn_explicit("a\nb \x1b[2J", UserWarning, str(CLI / "x.py"), 1)
        assert error.getvalue() == "excise: warning: a b \\x1b[2J\n"

    @pytest.mark.parametrize("others", [False, True])
    def test_warnings_of_other_packages_are_for_developers(self, others: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        heard = list[str]()
        monkeypatch.setattr(warnings, "showwarning", lambda message, *place: heard.append(str(message)))
        with plain_warnings(others):
            warnings.simplefilter("always")
            warnings.warn_explicit("a\nb", FutureWarning, "torch/utils/_device.py", 1)
        assert heard == (["a\nb"] if others else [])


class TestText:
    def test_only_the_screen_prints(self) -> None:
        """So that there is one place where text becomes visible."""
        for path in CLI.glob("*.py"):
            if path.name != "screen.py":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
                assert not calls & {"print", "typer.secho", "Console", "sys.stdout.write", "sys.stderr.write"}, path

    @pytest.mark.parametrize("text", hostile(60))
    def test_nothing_hides(self, text: str) -> None:
        shown = visible(text)
        assert not unseen(shown) and "\n" not in shown
        assert visible(shown) == shown, "twice is once"
        assert all(sign in shown for sign in text if sign.isprintable())

    def test_of_a_model_from_a_stranger(self, tiny_canvas: Path, tmp_path: Path) -> None:
        model = shutil.copytree(tiny_canvas, tmp_path / "model")
        about = json.loads((model / "excise.json").read_text(encoding="utf-8"))
        for text in hostile(12, without="\udcff"):
            (model / "excise.json").write_text(json.dumps({**about, "name": text}), encoding="utf-8")
            for command in (("info", model), ("list", "methods", "--model", model)):
                code, out, err = run(*command)
                assert code == 0 and not unseen(out + err)
                for part in visible(text).split():
                    assert part in out, "as it is, markup included"

    @pytest.mark.parametrize("text", hostile(12))
    def test_of_what_is_typed(self, text: str, tiny_canvas: Path, tmp_path: Path) -> None:
        for command in (
            ("info", text),
            ("erase", "cat", "--set", f"lr={text}"),
            ("erase", text, "--model", tiny_canvas),
            (text,),
        ):
            code, out, err = run(*command)
            assert code == 2 and err.count("\n") == 1 and not unseen(out + err), err

    @pytest.mark.parametrize("charset", ["ascii", "latin-1", "cp1252", "cp437", "utf-8", "utf-16"])
    def test_in_every_encoding(self, charset: str, tiny_canvas: Path, tmp_path: Path) -> None:
        model = shutil.copytree(tiny_canvas, tmp_path / "model")
        about = json.loads((model / "excise.json").read_text(encoding="utf-8"))
        (model / "excise.json").write_text(json.dumps({**about, "name": "猫 ± é — “x”"}), encoding="utf-8")
        code, out, err = run("info", model, charset=charset)
        assert code == 0, err
        assert ("猫" if charset.startswith("utf") else "\\u732b") in out
        code, _, err = run("info", "猫", charset=charset)
        assert code == 2 and ("猫" if charset.startswith("utf") else "\\u732b") in err

    def test_of_others_on_stderr(self) -> None:
        stream = io.StringIO()
        screen._Visible(stream).write("one\x1b[2J\ntwo\u202e\n")
        assert stream.getvalue() == "one\\x1b[2J\ntwo\\u202e\n"

    @pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "40"}])
    def test_of_progress(self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        for name, value in ({"TERM": "xterm"} | environment).items():
            monkeypatch.setenv(name, value)
        with screen.progress() as progress:
            progress("[red]a[/red]\x1b[2J", 1, 2)
        shown = terminal.getvalue()
        assert "\x1b[2J" not in shown
        if "TERM" not in environment:
            assert "[red]a[/red]" in shown

    def test_a_narrow_table_loses_nothing(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "20")
        screen.table(["one", "another"], [["abcdefghijklmnopqrstuvwxyz", "0123456789"]])
        printed = capsys.readouterr().out
        assert set("abcdefghijklmnopqrstuvwxyz0123456789") <= set(re.sub(r"\x1b\[\d*m", "", printed)) and "…" not in printed

    @pytest.mark.parametrize("columns", ["0", "1", "40", "abc", "-5", "99999999999"])
    def test_widths_that_no_terminal_has(self, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        code, out, _ = run("--help")
        assert code == 0 and "erase" in out


@pytest.mark.parametrize(
    "shell, code, err",
    [
        ("$excise list methods >&-", 0, ""),
        ("$excise list methods > /dev/full", 1, "excise: error: the disk is full"),
        ("$excise list nothing 2>&-", 2, ""),
        ("$excise list nothing 2> /dev/full", 2, ""),
        ("$excise list methods | :", 1, ""),
        ("$excise list methods <&- >&- 2>&-", 0, ""),
    ],
)
def test_streams_that_lead_nowhere(shell: str, code: int, err: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(excise.__file__).parents[1])}
    command = shell.replace("$excise", f"{sys.executable} -m excise")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code and done.stderr.startswith(err) and done.stderr.count("\n") == bool(err), done.stderr


class TestCard:
    """Names in the model card, read by somebody else's Markdown: the same structure as with plain names, and the names as text."""

    PLAIN = ("cat", "a cat", "my model", "PATH", "out")
    ESCAPES = (
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](http://evil.example)", "![a](http://evil.example/x.png)", "**b**",
        "_i_", "`code`", "a|b|c", "a\n# b", "a\n\n<b>c", "~~a~~", "&lt;b&gt;", "<http://evil.example>", "http://evil.example", 
        "www.evil.example", "a\\", '"); import os; ("', "'; rm -rf ~; '", "```\n<b>x</b>\n```", "\u202eabc", "\x1b[2J", "<!-- x", 
        "$x$", "a\\|b",
    )  # fmt: skip

    @staticmethod
    def tokens(names: tuple[str, ...]) -> tuple[list[str], str]:
        """The kinds of all tokens in order, and all text."""
        from markdown_it import MarkdownIt

        from excise.edits.manifest import Manifest
        from excise.methods import get
        from excise.results.erasure import ErasureResult

        name, phrase, model, base, out = names
        manifest = Manifest(
            model=model, base={"float32": "0" * 64}, method="mim", concepts=[{"name": name, "kind": "object", "phrases": [phrase]}],
            settings={"lr": phrase}, dtype="float32", device="cpu", versions={"torch": "1"},
        )  # fmt: skip
        result = ErasureResult(model=model, concepts=(name,), seed=0, note=f"{model} {name}", seconds=1.0, peak_mb=1.0)
        card = edit_card.render(manifest, get("mim"), result, model=base, edit=out).split("---\n", 2)[2]
        assert not unseen(card)
        found = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(card)
        flat = [token for block in found for token in (block, *(block.children or []))]
        kinds = [token.type for token in flat if token.type not in ("text", "softbreak", "text_special")]
        return kinds, "".join(token.content for token in flat if token.type in ("text", "text_special", "fence", "code_inline"))

    @pytest.mark.parametrize("text", ESCAPES)
    def test_is_text(self, text: str) -> None:
        plain, _ = self.tokens(self.PLAIN)
        kinds, shown = self.tokens((text,) * 5)
        assert kinds == plain
        assert visible(" ".join(text.split())).replace(" ", "") in shown.replace(" ", "")


def test_prompts_are_no_mathematics(tmp_path: Path) -> None:
    from types import SimpleNamespace

    import torch

    from excise.information.heat_map import heat_map_figure, save_figure

    example = SimpleNamespace(
        prompt="$\\frac{$ a \x1b[2J $x$",
        picture=torch.zeros(3, 8, 8),
        maps={"base": torch.ones(2, 2), "edited": torch.ones(2, 2)},
    )
    found: Any = SimpleNamespace(concepts=[SimpleNamespace(examples=[example])])
    save_figure(heat_map_figure(found), tmp_path / "map.svg")
    assert (tmp_path / "map.svg").is_file()
