"""Paths that lead nowhere: links in a circle, and home folders of users that there are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import excise
from excise.cli import app
from excise.files import at_home, real_path

COMMANDS = (
    "erase cat --model PATH",
    "erase cat --evaluate none --out PATH --dry-run",
    "generate cat --model PATH",
    "generate cat --edit PATH --out x.png",
    "generate cat --steps 1 --out PATH",
    "apply PATH --to made",
    "apply PATH --model PATH --to PATH",
    "export PATH --to made.safetensors",
    "restore PATH --concept cat --out made",
    "diff PATH PATH --out made",
    "evaluate --edit PATH",
    "evaluate --concept cat --real PATH",
    "evaluate --concept cat --inception PATH",
    "measure cat --budget 1 --json PATH",
    "measure --edit PATH",
    "measure cat --pictures PATH",
    "vary PATH",
    "audit PATH",
    "audit PATH --out PATH",
    "bench --model PATH --dry-run",
    "bench --out PATH --dry-run",
    "report PATH",
    "report . --out PATH",
    "convert PATH",
    "show PATH",
    "info PATH",
    "suite run coco --set prompts=PATH --model PATH --out made",
    "erase --config PATH",
)
"""PATH stands for the path."""


@pytest.mark.parametrize("form", ["~nobody-is-called-so/x", "~nobody-is-called-so", "circle", "circle/x"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_verb_says_in_one_line_what_is_wrong(
    command: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    ended = CliRunner().invoke(app, [word.replace("PATH", form) for word in command.split()])
    assert ended.exit_code in (0, 2), ended.output
    assert "unexpected" not in ended.output and "Traceback" not in ended.output
    if ended.exit_code:
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert Path("circle").is_symlink()


def test_weights_that_nothing_asked_for_are_refused_at_once() -> None:
    """Not taken for a slip and left aside while minutes of measuring begin."""
    ended = CliRunner().invoke(app, ["evaluate", "--concept", "cat", "--inception", "weights.pth"])
    assert ended.exit_code == 2 and "weights of Inception are what features=inception works with" in ended.stderr, ended.output


@pytest.mark.parametrize("name", ["edit.json", "edit.safetensors"])
def test_files_of_an_edit_that_are_links_in_a_circle(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(name)
    ended = CliRunner().invoke(app, ["convert", str(tmp_path)])
    assert ended.exit_code in (0, 2) and "unexpected" not in ended.output, ended.output


def test_a_link_is_called_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "edit.json").symlink_to("/dev/zero")
    ended = CliRunner().invoke(app, ["convert", str(tmp_path)])
    assert ended.exit_code == 2 and f"{tmp_path / 'edit.json'} is no regular file" in ended.stderr, ended.output


def test_what_is_typed_too_much_is_cut() -> None:
    ended = CliRunner().invoke(app, ["export", "uce", "--to", "made.safetensors", "concept " * 500])
    assert ended.exit_code == 2 and len(ended.stderr) < 900, ended.stderr


def test_a_long_name_of_a_file_of_options_is_cut() -> None:
    ended = CliRunner().invoke(app, ["erase", "cat", "--config", "concept " * 500])
    assert ended.exit_code == 2 and len(ended.stderr) < 900, ended.stderr


def test_paths_lead_somewhere_or_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    (tmp_path / "link").symlink_to("folder")
    assert at_home("~/x") == tmp_path / "x" and at_home("~nobody-is-called-so/x") == Path("~nobody-is-called-so/x")
    assert real_path(circle) == circle and real_path(tmp_path / "link" / "x") == tmp_path / "folder" / "x"


def test_nobody_asks_pathlib_which_gives_up_on_them() -> None:
    asks = re.compile(r"\.expanduser\(\)|\.resolve\((strict=\w+)?\)")
    files = Path(excise.__file__).parent.rglob("*.py")
    assert [file.name for file in files if asks.search(file.read_text(encoding="utf-8"))] == []
