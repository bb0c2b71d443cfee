"""benchmarks/unasked.py: its distances, against sums by hand, and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import unasked
from excise.erasure.run import Run
from excise.methods import get
from excise.models import Model, load
from excise.models.bystanders import read_bystanders


def test_distances_are_of_pairs_of_different_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: a double loop."""
    monkeypatch.setattr(unasked, "EACH", 3)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def mean(rows: Any, power: int) -> float:
        pairs = [(i, j) for i in rows for j in rows if i != j]
        return sum(float((features[i] - features[j]).norm()) ** power for i, j in pairs) / len(pairs)

    assert unasked.apart(features).tolist() == pytest.approx([mean(range(3), 1), mean(range(3, 6), 1)])
    assert float(unasked.between(features)) == pytest.approx(mean(range(6), 2))


@pytest.fixture
def look(tiny_canvas: Path, monkeypatch: pytest.MonkeyPatch) -> unasked.Look:
    for name, count in {"PROMPTS": 2, "EACH": 2, "EMPTY": 3, "BYSTANDERS": 4}.items():
        monkeypatch.setattr(unasked, name, count)
    model = load(tiny_canvas, device="cpu")
    model.bystanders = read_bystanders([{"name": "lamp", "phrases": ["a lamp"], "head": "member"}], model.catalog)
    return unasked.Look(model)


def test_an_edit_that_changes_nothing_moves_nothing(look: unasked.Look) -> None:
    model: Model = look.model
    cat = model.catalog.resolve("cat")
    edit = get("uce").erase(model, [cat], get("uce").settings(), Run())
    moved, still = look.figures(cat, edit), look.figures(cat, edit.scaled(0.0))
    assert moved["change"] > 0 and moved["empty"] > 0 and moved["diversity"] != pytest.approx(1)
    assert still["change"] == still["empty"] == 0 and still["diversity"] == 1 and still["bystanders"] in (1.0, None)


def test_the_table_has_a_row_for_each_method_and_the_least_moved_first() -> None:
    edits = [
        {"entrant": method, "concept": str(number), "bystanders": 1.0, "change": change, "diversity": 1.0, "empty": 0.1}
        for method, change in (("far", 0.5), ("near", 0.1))
        for number in range(2)
    ]
    rows = unasked.table({"edits": edits})[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["`near`", "`far`"]
    assert rows[0].split("|")[4].strip() == "10.0 (10.0 to 10.0)"


@pytest.mark.parametrize("text", [None, "{", ""])
def test_a_file_that_cannot_be_shown_is_one_line(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file = tmp_path / "unasked.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["unasked.py", "--show", str(file)])
    with pytest.raises(SystemExit) as ended:
        unasked.recorded.main("", unasked.RESULTS, unasked.measure, unasked.table)
    assert ended.value.code == 2 and str(file) in capsys.readouterr().err.splitlines()[-1]
