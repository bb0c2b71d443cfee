"""The README's commands and its Python run, on a tiny model in the place of the built-in one; settings that the docs name are taken."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import excise
from excise.cli import app
from excise.jobs.erase import erase
from excise.methods import methods
from excise.models.built_in import BUILT_IN
from excise.requests.grid import Entrant

QUICK = {"rounds": 1, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2}
README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
CONSOLE = [[shlex.split(line, comments=True)[1:] for line in text.splitlines()] for kind, text in BLOCKS if kind == "console"]


@pytest.fixture
def canvas_is_tiny(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in model is a tiny one, and the working folder is empty."""
    monkeypatch.setitem(BUILT_IN, "canvas", tiny_canvas)
    monkeypatch.chdir(tmp_path)


def test_the_tour_runs(canvas_is_tiny: None, tmp_path: Path) -> None:
    for command in CONSOLE[0]:
        quick = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
        result = CliRunner().invoke(app, command + quick * (command[0] == "erase"))
        assert result.exit_code == 0, (command, result.output)
    assert (tmp_path / "canvas-without" / "model_index.json").is_file()


@pytest.mark.parametrize("command", [command for block in CONSOLE[1:] for command in block], ids=" ".join)
def test_the_other_commands_are_understood(command: list[str]) -> None:
    """Their files are not here, so they are parsed and not run."""
    verb = get_command(app).commands[command[0]]  # type: ignore[attr-defined]
    verb.make_context(command[0], command[1:])


def test_the_python_runs(canvas_is_tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excise, "erase", partial(erase, settings=QUICK), raising=False)
    code = "\n".join(text for kind, text in BLOCKS if kind == "python")
    exec(compile(code, str(README), "exec"), {})


def test_settings_that_the_docs_name_are_taken() -> None:
    """`method:settings` between back quotes, read as `excise bench` reads it."""
    texts = [path.read_text(encoding="utf-8") for path in (README, *README.parent.glob("docs/**/*.md"))]
    named = {
        f"{method}:{settings}"
        for text in texts
        for method, settings in re.findall(r"`(\w+):([^`]+)`", text)
        if method in methods()
    }
    assert len(named) > 3 and any(entrant.startswith("mim:") for entrant in named)
    for entrant in named:
        Entrant.parse(entrant)
