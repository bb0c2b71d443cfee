"""Outputs of one request that are one file, one in the other, or an input, however they are spelled: refused in one line before the work."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from excise.cli import app
from excise.jobs.erase import erase
from excise.requests.clashes import MODELS, OUTPUTS
from test_requests import requests

INPUTS = {
    "base", "clip", "config", "config_from", "edit", "folder", "font", "harden", "images", "inception", "lpips", "paths", "pictures",
    "queue", "real", "restorer", "results", "root", "weights", "wordings", "work",
}  # fmt: skip
"""Fields that name what is read."""


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object) -> str:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1, err
    return err


def ok(*arguments: object) -> None:
    code, _, err = run(*arguments)
    assert code == 0, err


def test_every_path_is_known_as_one_or_the_other() -> None:
    paths = {name for one in requests() for name, field in one.model_fields.items() if "Path" in str(field.annotation)}
    assert paths - OUTPUTS == paths & (INPUTS | MODELS)


def test_in_python_too(tiny_canvas: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="get in each other's way"):
        erase("cat", model=tiny_canvas, out=tmp_path / "a", json=tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def spellings(path: Path, links: Path) -> list[Path]:
    link = links / f"link-{path.name}"
    link.symlink_to(path.parent, target_is_directory=True)
    return [
        path,
        path.parent / "." / path.name,
        path.parent / "x" / ".." / path.name,
        link / path.name,
        Path(os.path.relpath(path)),
    ]


def test_two_outputs(tmp_path: Path, tiny_canvas: Path) -> None:
    for out in spellings(tmp_path / "a", tmp_path):
        for json in (tmp_path / "a", tmp_path / "a" / "b.json", tmp_path / "a" / "b" / "c.json"):
            line = refused("erase", "cat", "--model", tiny_canvas, "--out", out, "--json", json)
            assert f"out={out} and json={json} get in each other's way" in line
    for one, other in itertools.combinations(("--json", "--figure", "--curves"), 2):
        typed = ("measure", "cat", "--model", tiny_canvas, one, tmp_path / "a.png", other, tmp_path / "z" / ".." / "a.png")
        assert "get in each other's way" in refused(*typed)
    refused("erase", "cat", "--model", tiny_canvas, "--json", tmp_path / "a", "--out", tmp_path / "a" / "b")


@pytest.mark.parametrize(
    "typed",
    [
        "apply {x} --to {y} --overwrite",
        "export {x} --to {y} --overwrite",
        "prune {x} --out {y} --overwrite",
        "distill {x} --out {y} --overwrite",
        "distill {z} --teacher {x} --out {y} --overwrite",
        "diff {x} {z} --out {y} --overwrite",
        "diff {z} {x} --out {y} --overwrite",
        "generate a --edit {x} --out {y} --overwrite",
        "generate a --model {x} --out {y} --overwrite",
        "evaluate --edit {x} --json {y} --overwrite",
        "evaluate --concept cat --real {x} --json {y} --overwrite",
        "measure cat --base {x} --figure {y} --overwrite",
        "vary {x} --json {y} --overwrite",
        "audit {x} --out {y}",
        "audit {z} --gold {x} --out {y}",
        "bench --methods uce --concepts cat --model {x} --out {y}",
        "bench --methods uce --concepts cat --gold cat={x} --out {y}",
        "queue export {x} --to {y} --overwrite",
        "suite run i2p --edit {x} --out {y}",
        "suite run i2p --weights nudenet={x} --out {y}",
        "upscale {x} --out {y} --overwrite",
        "upscale {z} --restorer {x} --out {y} --overwrite",
        "erase cat --harden {x} --out {y} --overwrite",
        "erase cat --config {x} --json {y} --overwrite",
    ],
)
def test_an_output_that_is_an_input(typed: str, tmp_path: Path) -> None:
    for y in spellings(tmp_path / "x", tmp_path)[1:]:
        x = tmp_path / "x"
        if "--config" in typed:
            x.write_text("seed: 1", encoding="utf-8")
        elif not x.exists():
            x.mkdir()
            (x / "model_index.json").write_text("{}", encoding="utf-8")
        line = refused(*typed.format(x=x, y=y, z=tmp_path / "z").split(" "))
        assert f"={y} is what is read as " in line, line


def test_names_that_are_no_paths_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called as the built-in model is, or as a concept or prompt."""
    monkeypatch.chdir(tmp_path)
    ok("erase", "cat", "--model", "canvas", "--out", "cat", "--dry-run")
    ok("erase", "cat", "--model", "canvas", "--out", "canvas", "--json", "numbers.json", "--dry-run")
    ok("generate", "cat", "--out", "cat", "--dry-run")
