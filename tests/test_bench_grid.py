"""Several concepts in one cell of a benchmark: together, and one after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from excise.edits import Edit, compose
from excise.edits.applied import applied_edits
from excise.erasure.run import Run
from excise.jobs.bench import bench
from excise.jobs.bench_grid import PlannedCell, grid
from excise.methods import get
from excise.models import Model
from excise.models.names import describe
from excise.report.method_table import groups
from excise.requests.grid import Entrant, Task, read_entrants, read_tasks
from excise.results.cell import CellInformation
from excise.results.information import ConceptReading, Forms, Measurement, Reading
from made_up import SETTINGS, figure

OPTIONS = {"methods": ["uce"], "target_pictures": 3, "other_pictures": 3, "quality": False, "device": "cpu"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def test_names(tiny_canvas: Path) -> None:
    catalog = describe(tiny_canvas).catalog
    together, turn = Task.parse("cat+style:sketch", catalog), Task.parse("dog>cat", catalog)
    assert (together.label, together.in_turn) == ("object:cat+style:sketch", False)
    assert (turn.label, turn.in_turn) == ("object:dog>object:cat", True)
    paths = [PlannedCell(Entrant.parse("uce"), task, 0).path(Path()).name for task in (together, turn)]
    assert paths == ["object-cat+style-sketch-s0.json", "object-dog_then_object-cat-s0.json"]
    labels = [
        cell.task.label for cell in grid(read_entrants(["uce"]), read_tasks(["cat+dog", "cat>dog", "objects"], catalog), [0])
    ]
    assert labels == ["object:cat+object:dog", "object:cat>object:dog", "object:cat", "object:dog", "object:bird"]


@pytest.mark.parametrize(
    ("text", "said"), [("cat+dog>bird", "mixes"), ("cat+cat", "twice"), ("cat+dgo", "did you mean"), ("cat+", "unknown|empty")]
)
def test_wrong_ones(text: str, said: str, tiny_canvas: Path) -> None:
    with pytest.raises(ValueError, match=said):
        Task.parse(text, describe(tiny_canvas).catalog)


def test_in_turn_is_each_on_top_of_the_earlier(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], int]] = []
    method, entrant = get("uce"), Entrant.parse("uce")

    def erase(model: Model, concepts: Any, *rest: Any) -> Edit:
        seen.append(([concept.name for concept in concepts], len(applied_edits(model))))
        return method.erase(model, concepts, *rest)

    watched = Entrant(
        entrant.text, type(method)(method.name, method.title, method.paper, method.settings, erase), entrant.settings
    )
    turn = PlannedCell(watched, Task.parse("cat>dog", canvas.catalog), 0).erase(canvas, lambda *_: None)
    assert seen == [(["cat"], 0), (["dog"], 1)] and not applied_edits(canvas)
    settings = method.parse({})
    cat = method.erase(canvas, [canvas.catalog.resolve("cat")], settings, Run())
    with cat.applied(canvas):
        dog = method.erase(canvas, [canvas.catalog.resolve("dog")], settings, Run())
    by_hand = compose([cat, dog])
    assert turn.deltas.keys() == by_hand.deltas.keys()
    assert all(torch.equal(delta.dense(), by_hand.deltas[name].dense()) for name, delta in turn.deltas.items())
    PlannedCell(watched, Task.parse("cat+dog", canvas.catalog), 0).erase(canvas, lambda *_: None)
    assert seen[2:] == [(["cat", "dog"], 0)]


def test_cells_and_tables(tiny_canvas: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    cells = bench(concepts=["cat", "cat+dog", "cat>dog"], model=tiny_canvas, out=out, budget=700, **OPTIONS)  # type: ignore[arg-type]
    assert not [cell.error for cell in cells if cell.error]
    assert [cell.task for cell in cells] == ["object:cat", "object:cat + object:dog", "object:cat then object:dog"]
    both, words = cells[1].evaluation, cells[1].information
    assert both and words and words.kept
    erased, kept = ({each.concept for each in part} for part in (both.targets, both.retained))
    assert erased == {"object:cat", "object:dog"} and not kept & erased
    assert words.nats.share_left and words.kept.of("object:bird") and words.kept.of("object:dog") is None
    assert [group.title for group in groups(cells)] == ["all concepts", "joint erasures", "objects"]
    stamps = [path.stat().st_mtime_ns for path in sorted(out.rglob("cells/**/*.json"))]
    bench(concepts=["cat>dog", "cat+dog"], model=tiny_canvas, out=out, budget=700, **OPTIONS)  # type: ignore[arg-type]
    assert stamps == [path.stat().st_mtime_ns for path in sorted(out.rglob("cells/**/*.json"))]
    assert "object:cat then object:dog" in (out / "results.csv").read_text(encoding="utf-8")
    assert "object:cat then object:dog" in (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "cells" / "uce" / "object-cat_then_object-dog-s0.json").read_text())["in_turn"] is True


def test_nats_are_of_the_concept_that_most_is_left_of() -> None:
    def reading(name: str, base: float, share: float | None) -> ConceptReading:
        forms = Forms(orthogonal=figure(base), plain=figure(base), floor=0.01, at_floor=False)
        words = Reading(base=forms, edited=forms, share_left=None if share is None else figure(share), steering=figure(0.0))
        return ConceptReading(
            concept=name, pictures=4, source="s", prompts=(), conditional=words, unconditional=words, destruction=figure(0.0)
        )

    concepts = (reading("a", 1.0, 0.1), reading("b", 2.0, 0.4), reading("c", 3.0, None))
    measured = Measurement(model="m", edits=(), concepts=concepts, others=(), settings=SETTINGS, seconds=1.0)
    found = CellInformation.of(measured)
    assert found.nats.base == figure(2.0) and found.nats.share_left == figure(0.4)
    assert [profile.concept for profile in found.profiles] == ["a", "b", "c"]
