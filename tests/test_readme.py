"""README and the pages that tell people what to type: README's and the tutorial's commands and Python run, all others are understood."""

from __future__ import annotations

import doctest
import json
import re
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import excise
import pages
from excise.cli import app
from excise.cli.command import Command
from excise.jobs.erase import erase
from excise.methods import methods
from excise.models.built_in import BUILT_IN
from excise.report import information_table, result_table
from excise.requests.grid import Entrant
from excise.results.erasure import ErasureResult

ROOT = pages.ROOT
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "start" / "tutorial.md"
RUN = (README, TUTORIAL)
"""Pages whose commands run from top to bottom."""

QUICK = {"rounds": 1, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2}
CHEAP = {
    "erase": [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")],
    "bench": ["--target-pictures", "6", "--other-pictures", "3", "--budget", "1"],
    "audit": ["--prompts", "2", "--budget", "200"],
    "measure": ["--budget", "600"],
}
"""What is added to a command so that it takes no time; settings are MiM-MU's."""

COMMANDS = [(page.name, command) for page in pages.pages() if page not in RUN for command in pages.commands(page)]


@pytest.fixture
def canvas_is_tiny(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in model is a tiny one, and the working folder is empty."""
    monkeypatch.setitem(BUILT_IN, "canvas", tiny_canvas)
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def cheap(command: list[str]) -> list[str]:
    """The same command with as little work as there can be."""
    if command[0] == "bench":
        command = [
            f"mim:{','.join(f'{key}={value}' for key, value in QUICK.items())} uce" if w == "mim uce" else w for w in command
        ]
    return command if "--set" in command else command + CHEAP.get(command[0], [])


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page: Path, canvas_is_tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excise, "erase", partial(erase, settings=QUICK), raising=False)
    commands = pages.commands(page)
    assert len(commands) > 2
    for command in commands:
        result = CliRunner().invoke(app, cheap(command))
        assert result.exit_code == 0, (command, result.output)
    for code in pages.blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {})


def test_without_an_edit_the_base_model_draws_what_it_drew(canvas_is_tiny: None) -> None:
    """As the tutorial says of two of its files."""
    drawn = [command for command in pages.commands(TUTORIAL) if command[-1] in ("strength-0.png", "again.png")]
    erasing = pages.commands(TUTORIAL)[0]
    for command in (cheap([*erasing, "--evaluate", "none"]), *drawn):
        assert CliRunner().invoke(app, command).exit_code == 0
    assert len(drawn) == 2 and Path("again.png").read_bytes() == Path("strength-0.png").read_bytes()


def test_the_tutorial_shows_what_its_commands_measured() -> None:
    """Beside its pictures lies the result of its first command, as the run that made them wrote it."""
    found = ErasureResult.read(TUTORIAL.parent / "pictures" / "result.json")
    assert found.evaluation is not None and found.information is not None
    page = TUTORIAL.read_text(encoding="utf-8")
    for measure, base, edited, _ in result_table.table(found.evaluation):
        assert f"| {measure} | {base} | {edited} |" in page
    (row,) = information_table.table(found.information)
    told = dict(zip(information_table.columns(found.information), row, strict=True))
    shown = ("concept", "nats, base", "nats left", "share left", "steering")
    assert f"| {' | '.join(told[name] for name in shown)} |" in page


@pytest.fixture
def only_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands do nothing but what they do before they load a weight, as far as what they name is here."""

    def look(self: Command[Any], typed: dict[str, Any]) -> None:
        with suppress(FileNotFoundError):
            request = self._resolve(typed).request
            for parsed in ("parsed", "entrants"):  # settings of a method, of several
                getattr(request, parsed, None)
            request.check()

    monkeypatch.setattr(Command, "run", look)
    monkeypatch.setattr("excise.models.devices._torch", lambda: "made for every device")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save("small.png")


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_every_other_command_is_understood(page: str, command: list[str], only_understood: None) -> None:
    """Names, options, settings and values are right; what they name is looked at if it is the built-in model."""
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "command",
    ["erase cat --see 1", "erase cat --set stops=1", "erase cat --dtype float8", "bench --methods mum --concepts cat --out a",
     "queue run a.yaml --evaluate some", "audit out/cat --attacks p5d", "erase unicycle"],
)  # fmt: skip
def test_a_wrong_one_would_be_seen(command: str, only_understood: None) -> None:
    assert CliRunner().invoke(app, command.split()).exit_code == 2


def test_every_python_block_is_python() -> None:
    found = [(page, code) for page in pages.pages() for code in pages.blocks(page, "python")]
    assert len(found) > 3
    for page, code in found:
        compile(code, str(page), "exec")


def test_a_model_with_the_files_of_the_page_on_classifiers_is_measured(
    tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, folder = ROOT / "docs" / "how-to" / "classifier.md", tmp_path / "my-model"
    shutil.copytree(tiny_sd1, folder)
    (declared, more), code = pages.blocks(page, "json"), pages.blocks(page, "python")[-1]
    assert [each["name"] for each in json.loads("{" + more + "}")["bystanders"]] == ["heart", "cow"]
    (folder / "excise.json").write_text(declared.replace("512", "16"), encoding="utf-8")
    monkeypatch.chdir(folder)
    exec(compile(code.replace("512", "16"), str(page), "exec"), {})
    found = erase("cat", model=folder, settings=QUICK, device="cpu").result.evaluation
    assert found is not None and found.ua.n > 0 and found.ira is not None and found.cra is not None


def test_every_target_of_make_is_there() -> None:
    named = {
        name for page in pages.pages() for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= there


def test_readme_is_a_first_page() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 120


def test_commands_are_found_as_a_shell_reads_them() -> None:
    assert doctest.testmod(pages).failed == 0


def test_settings_that_the_docs_name_are_taken() -> None:
    """`method:settings` between back quotes, read as `excise bench` reads it."""
    texts = [path.read_text(encoding="utf-8") for path in (README, *ROOT.glob("docs/**/*.md"))]
    named = {
        f"{method}:{settings}"
        for text in texts
        for method, settings in re.findall(r"`(\w+):([^`]+)`", text)
        if method in methods()
    }
    assert len(named) > 3 and any(entrant.startswith("mim:") for entrant in named)
    for entrant in named:
        Entrant.parse(entrant)
