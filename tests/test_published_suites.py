"""A benchmark that a published protocol measures: the base model's pictures once, a cell per erasure, its tables and its page."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from excise.cli import app
from excise.evaluation import MissingWeightsError
from excise.jobs.bench import bench
from excise.jobs.suite import suite
from excise.report import folder_reader
from excise.results.cell import Cell
from excise.results.suite_result import SuiteResult
from standin_weights import vit

SUBSET = {"styles": "Monet Van_Gogh Seed_Images", "objects": "Cats Dogs", "seeds": "188", "steps": 2, "size": 16}
GOGH = "style:Van Gogh"


@pytest.fixture
def options(tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    weights = {"uc_style": vit(tmp_path / "style50.pth", 51, 3), "uc_object": vit(tmp_path / "style50_cls.pth", 20, 4)}
    return {
        "suite": "unlearncanvas", "suite_settings": SUBSET, "weights": weights, "model": tiny_sd1, "out": tmp_path / "b", "device": "cpu",
    }  # fmt: skip


def suite_of(cell: Cell) -> SuiteResult:
    assert cell.suite is not None, cell.error
    return cell.suite


def pictures(where: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in where.rglob("*.png")}


def test_every_cell_says_what_the_suite_says_of_its_edit(options: dict[str, Any], tmp_path: Path) -> None:
    found = bench(methods=["uce", "cure:alpha=1e3"], concepts=[GOGH, "object:Dogs"], **options)
    assert [(cell.entrant, suite_of(cell).settings["target"]) for cell in found] == [
        (entrant, target) for target in ("style:Van_Gogh", "object:Dogs") for entrant in ("uce", "cure:alpha=1e3")
    ]
    made = pictures(tmp_path / "b")
    assert len(made) == 6 + 4 * 6 and len(pictures(tmp_path / "b" / "base")) == 6, "the base model's are made once"
    assert all(cell.seconds and cell.edit_mb for cell in found)

    from excise.jobs.erase import erase

    model, uc = options["model"], {key: options[key] for key in ("weights", "device")}
    erase(GOGH, model=model, method="uce", out=tmp_path / "e", device="cpu", evaluate="none")
    settings = {**SUBSET, "target": "style:Van_Gogh"}
    alone = suite("unlearncanvas", out=tmp_path / "u", model=model, edit=tmp_path / "e", settings=settings, **uc)
    assert alone.metrics == suite_of(found[0]).metrics and alone.prompts_hash == suite_of(found[0]).prompts_hash

    text = (tmp_path / "b" / "results.md").read_text(encoding="utf-8")
    assert "| uce style:Van Gogh, seed 0 | edited |" in text
    with open(tmp_path / "b" / "results.csv", encoding="utf-8") as file:
        rows = {(r["entrant"], r["concept"], r["model"], r["figure"]): r for r in csv.DictReader(file)}
    ua = alone.metrics.parts["edited"]["ua"]
    assert ua and float(rows["uce", GOGH, "edited", "ua"]["value"]) == ua.value
    assert len(folder_reader.read(tmp_path / "b").suites) == 4 and not folder_reader.read(tmp_path / "b").benches
    suite("unlearncanvas", out=tmp_path / "all" / "pictures", model=model, settings=settings, **uc)
    assert len(folder_reader.read(tmp_path / "all").suites) == 1, "a folder of that name that is no benchmark's is read"
    assert "uce style:Van Gogh" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")

    assert bench(methods=["uce", "cure:alpha=1e3"], concepts=[GOGH, "object:Dogs"], **options) == found
    assert pictures(tmp_path / "b") == made


def test_pictures_of_an_erasure_that_came_out_otherwise_are_made_again(options: dict[str, Any], tmp_path: Path) -> None:
    """A stopped cell is erased anew; what it had drawn before belongs to another edit and must not stop it for good."""
    (found,) = bench(methods=["uce"], concepts=[GOGH], **options)
    (manifest,) = (tmp_path / "b" / "pictures").rglob("edited/*.json")
    told = json.loads(manifest.read_text(encoding="utf-8"))
    told["about"]["edits"] = ["another"]
    manifest.write_text(json.dumps(told), encoding="utf-8")
    for path in (tmp_path / "b" / "cells").rglob("*.json"):
        path.unlink()
    (again,) = bench(methods=["uce"], concepts=[GOGH], **options)
    assert suite_of(again).metrics == suite_of(found).metrics


def test_two_processes_share_the_base_models_pictures(options: dict[str, Any], tmp_path: Path) -> None:
    found = bench(methods=["uce", "rece"], concepts=[GOGH], jobs=2, **options)
    assert not any(cell.error for cell in found) and len(pictures(tmp_path / "b" / "base")) == 6
    assert suite_of(found[0]).metrics.base == suite_of(found[1]).metrics.base


def test_a_failed_cell_says_why_and_the_rest_goes_on(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excise.jobs.published_suites import PublishedSuites

    measure = PublishedSuites.measure

    def failing(self: PublishedSuites, model: Any, cell: Any, *rest: Any) -> Any:
        if cell.entrant.text == "uce":
            raise FloatingPointError("not a number")
        return measure(self, model, cell, *rest)

    monkeypatch.setattr(PublishedSuites, "measure", failing)
    failed, good = bench(methods=["uce", "rece"], concepts=[GOGH], **options)
    assert failed.error == "FloatingPointError: not a number" and failed.suite is None and good.suite
    assert "- uce style:Van Gogh, seed 0: FloatingPointError: not a number" in (tmp_path / "b" / "results.md").read_text()
    assert len(folder_reader.read(tmp_path / "b").suites) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"concepts": ["style:Van Go"]}, "did you mean 'Van_Gogh'"),
        ({"concepts": [f"{GOGH}+object:Dogs"]}, "scores one target"),
        ({"suite": "unlearncanva"}, "did you mean 'unlearncanvas'"),
        ({"suite_settings": {"stile": "x"}}, "unknown setting"),
        ({"suite": "canvas"}, "takes no settings or weights"),
        ({"gold": {GOGH: "canvas"}}, "for the suite 'canvas'"),
        ({"weights": {}}, "uc_style"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    changed: dict[str, Any], words: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("excise.jobs.bench.load", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises((ValueError, MissingWeightsError), match=words):
        bench(**{"methods": ["uce"], "concepts": [GOGH], **options, **changed})
    assert not (tmp_path / "b").exists()


def test_a_folder_keeps_its_suite_and_settings(options: dict[str, Any]) -> None:
    bench(methods=["uce"], concepts=[GOGH], **options)
    other = {**options, "suite_settings": {**SUBSET, "steps": 3}}
    with pytest.raises(ValueError, match="suite_settings"):
        bench(methods=["uce"], concepts=[GOGH], **other)


def test_from_the_command_line(options: dict[str, Any], tmp_path: Path) -> None:
    arguments = [
        "bench",
        "--suite",
        "unlearncanvas",
        "--methods",
        "uce",
        "--concepts",
        "style:Van_Gogh",
        "--out",
        str(options["out"]),
    ]
    arguments += ["--model", str(options["model"]), "--device", "cpu"]
    arguments += [word for key, value in SUBSET.items() for word in ("--suite-set", f"{key}={value}")]
    arguments += [word for key, value in options["weights"].items() for word in ("--weights", f"{key}={value}")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "| uce style:Van Gogh, seed 0 | base |" in result.output
    cell = Cell.read(tmp_path / "b" / "cells" / "uce" / "style-Van_Gogh-s0.json")
    assert suite_of(cell).protocol == "unlearncanvas"
