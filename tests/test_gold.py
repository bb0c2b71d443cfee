"""The gold standard: distances to a model trained without the concept, as numbers and in a benchmark."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import excise
from excise.cli import app
from excise.evaluation.gold import GoldGroup, distances, total_variation
from excise.jobs.bench import bench
from excise.report.method_table import groups
from excise.results.cell import Cell
from excise.results.evaluation import GoldDistances

SMALL = {"target_pictures": 6, "other_pictures": 3, "information": False, "quality": False, "device": "cpu"}


def test_total_variation_against_numpy() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(5, size=30), random.integers(1, 7, size=50)
    shares = [np.array([(each == c).mean() for c in range(7)]) for each in (one, other)]
    found = total_variation(torch.from_numpy(one).short(), torch.from_numpy(other).short())
    assert found == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    assert total_variation(torch.tensor([0, 1]), torch.tensor([1, 0])) == 0
    assert total_variation(torch.tensor([0, 0]), torch.tensor([1, 2])) == 1


def test_distances_by_hand() -> None:
    """Two heads count and the members do not; concepts count alike, however many pictures they have."""
    judge: Any = SimpleNamespace(key="features", classifier=SimpleNamespace(names={"object": [], "member": [], "style": []}))
    features = torch.randn(6, 3)
    gold = {"answers": torch.tensor([[0, 0, 0]] * 6), "features": features}
    reading = {
        "answers": torch.tensor([[1, 5, 0], [0, 5, 0], [2, 5, 1], [2, 5, 0], [2, 5, 0], [0, 5, 0]]),
        "features": features,
    }
    rows = [
        GoldGroup(torch.tensor([0, 1]), True),
        GoldGroup(torch.tensor([2]), False),
        GoldGroup(torch.tensor([3, 4, 5]), False),
    ]
    found = distances(reading, gold, rows, judge)
    assert found.target == pytest.approx((0.5 + 0) / 2)
    assert found.kept == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert found.fid and found.fid.value == pytest.approx(0, abs=1e-6)
    far = distances({**reading, "features": features + 2}, gold, rows, judge).fid
    assert far and far.value == pytest.approx(12, rel=1e-4) and far.n == 6
    assert far.interval and far.interval[0] - 1e-3 <= 12 <= far.interval[1] + 1e-3
    assert distances(gold, gold, rows, judge).kept == 0 and distances(gold, gold, rows[:1], judge).kept is None


@pytest.fixture
def gold(tiny_canvas: Path, tmp_path: Path) -> Path:
    """Another model of the same kind, with other text and other weights."""
    model = excise.load(tiny_canvas, device="cpu")
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for part in (model.denoiser, model.pipeline.text_encoder):
            for parameter in part.parameters():
                parameter.add_(0.3 * parameter.std().nan_to_num() * torch.randn(parameter.shape, generator=random))
    shutil.copytree(tiny_canvas, tmp_path / "gold")
    model.pipeline.save_pretrained(tmp_path / "gold")
    return tmp_path / "gold"


def test_a_row_of_its_own_and_the_others_distances(tiny_canvas: Path, gold: Path, tmp_path: Path) -> None:
    def run(**options: Any) -> dict[tuple[str, str], Cell]:
        cells = bench(methods=["uce"], concepts=["cat", "dog"], model=tiny_canvas, out=tmp_path / "b", **{**SMALL, **options})
        return {(cell.entrant, cell.task): cell for cell in cells}

    def distance(cell: Cell) -> GoldDistances | None:
        assert cell.evaluation is not None
        return cell.evaluation.gold

    assert distance(run()["uce", "object:cat"]) is None
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "b" / "cells").rglob("*.json")}
    cells = run(gold={"cat": gold})
    changed = {path.parent.name + path.stem for path in stamps if path.stat().st_mtime_ns != stamps[path]}
    assert changed == {"uceobject-cat-s0"}, "cells of other concepts stay as they are"
    assert set(cells) == {("uce", "object:cat"), ("uce", "object:dog"), ("retrained", "object:cat")}
    retrained = cells["retrained", "object:cat"]
    exact, other = distance(retrained), distance(cells["uce", "object:cat"])
    assert exact and exact.target == exact.kept == 0 and exact.fid and exact.fid.value == pytest.approx(0, abs=1e-3)
    assert other and other.fid and other.fid.value > 0.01 and other.base and other.base == exact.base
    assert other.base.fid and other.base.fid.value > 0.01
    assert retrained.seconds is None and retrained.settings == {} and str(gold) not in retrained.model_dump_json()
    shown = groups(list(cells.values()))[0]
    by_name = {row.name: row.numbers for row in (*shown.rows, shown.base)}
    assert by_name["uce"]["gold_fid"].value == other.fid.value
    assert by_name["base model"]["gold_fid"].value == other.base.fid.value
    with open(tmp_path / "b" / "results.csv", encoding="utf-8") as file:
        table = {row["entrant"] + row["concept"]: row for row in csv.DictReader(file)}
    assert float(table["uceobject:cat"]["gold_fid"]) == other.fid.value and table["uceobject:dog"]["gold_fid"] == ""


def test_it_makes_pictures_as_the_others_do(tiny_canvas: Path, gold: Path, tmp_path: Path) -> None:
    options = {**SMALL, "steps": 1, "guidance": 0.0, "gold": {"cat": gold}}
    cells = bench(methods=["uce"], concepts=["cat"], model=tiny_canvas, out=tmp_path / "b", **options)
    itself = next(cell for cell in cells if cell.entrant == "retrained")
    assert itself.evaluation is not None and (found := itself.evaluation.gold) is not None
    assert found.target == found.kept == 0 and found.fid and found.fid.value == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["cat"], "expected CONCEPT=MODEL"),
        (["=canvas"], "expected CONCEPT=MODEL"),
        (["cat=canvas", "cat=canvas"], "two gold standards"),
        (["dog=canvas"], "not among the concepts"),
        (["cta=canvas"], "did you mean"),
        (["cat=./nowhere"], "nowhere"),
    ],
)
def test_wrong_ones_are_refused(given: list[str], said: str, tiny_canvas: Path, tmp_path: Path) -> None:
    arguments = ["bench", "--methods", "uce", "--concepts", "cat", "--model", str(tiny_canvas), "--out", str(tmp_path / "b")]
    result = CliRunner().invoke(app, arguments + [word for text in given for word in ("--gold", text)])
    assert result.exit_code == 2 and said in result.output.replace("\n", " "), result.output
    assert not (tmp_path / "b").exists()
