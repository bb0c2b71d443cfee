"""The benchmark of continual removal: a cell after every request, what is there is not made again, and what fails says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import removals as benchmark
from excise.evaluation import evaluate
from excise.models import load
from excise.report.erosion_table import slope
from excise.requests.removals import Queue
from excise.results.cell import Cell

ENTRANT = "uce:preserve=catalog@resolve"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


def options(model: Path, out: Path, **changed: Any) -> dict[str, Any]:
    few = {"entrants": [ENTRANT], "requests": 2, "target_pictures": 1, "other_pictures": 1, "budget": 1, "seed": 0}
    return {**few, "model": str(model), "out": out, "dtype": "float32", **changed}


def test_a_cell_after_every_request(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("excise.jobs.queue.build", lambda *_: None)
    assert benchmark.removals(**options(tiny_canvas, out)) == {}
    asked = benchmark.order(str(tiny_canvas), 2, 0)
    assert json.loads((out / "order.json").read_text())["requests"] == list(asked)
    first, second = (Cell.read(path) for path in sorted((out / "cells").glob("*/*.json")))
    assert (first.concepts, second.concepts) == (asked[:1], asked) and first.information and second.information
    assert first.evaluation and second.evaluation and first.evaluation.fid_base is not None
    (queue,) = (out / "queues").glob("*/queue.yaml")
    assert [each.state for each in Queue.read(queue).content.requests] == ["served", "served"]
    model = load(tiny_canvas, device="cpu")
    edit = benchmark.load_edit(queue.with_suffix("") / "edit")
    own = evaluate(model, [model.catalog.resolve(label) for label in asked], edit, target_pictures=1, other_pictures=1)
    assert (own.targets, own.retained) == (second.evaluation.targets, second.evaluation.retained)
    told = (out / "removals.md").read_text(encoding="utf-8")
    assert f"## {ENTRANT}" in told and f"2: {asked[1]}" in told and (out / "removals.png").is_file()

    shown = benchmark.shown(out)
    assert told.startswith("\n".join(shown)) and shown[2].startswith(f"| `{ENTRANT}` | ") and len(shown) == 3
    with pytest.raises(FileNotFoundError, match="no cells of a queue"):
        benchmark.shown(tmp_path / "elsewhere")

    gone = min((out / "cells").glob("*/*.json"))
    content = gone.read_bytes()
    gone.unlink()  # its edit is the queue's no more
    assert "has 2 requests already" in benchmark.removals(**options(tiny_canvas, out))[ENTRANT]
    gone.write_bytes(content)

    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json")}
    monkeypatch.setattr(benchmark, "_served", lambda *_: pytest.fail("all is there"))
    assert benchmark.removals(**options(tiny_canvas, out)) == {}
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json")} == stamps
    with pytest.raises(ValueError, match=r"was made otherwise \(seed\)"):
        benchmark.removals(**options(tiny_canvas, out, seed=1))


def test_what_fails_says_why_and_is_tried_again(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Cell:
        raise FloatingPointError("too strong")

    monkeypatch.setattr(benchmark, "_served", fails)
    failed = benchmark.removals(**options(tiny_canvas, tmp_path))
    assert failed == {ENTRANT: "request 1: FloatingPointError: too strong"}
    assert "too strong" in (tmp_path / "removals.md").read_text(encoding="utf-8")
    assert benchmark.Service(ENTRANT, benchmark.order(str(tiny_canvas), 2, 0), **_how(tiny_canvas, tmp_path)).missing() == [
        1,
        2,
    ]


def _how(model: Path, out: Path) -> dict[str, Any]:
    found = options(model, out)
    return {name: value for name, value in found.items() if name not in ("entrants", "requests")}


@pytest.mark.parametrize(
    "entrant, words", [("mim", "expected METHOD@STRATEGY"), ("mim@at-once", "expected"), ("mmi@joint", "unknown")]
)
def test_bad_entrants_are_refused(entrant: str, words: str, tiny_canvas: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        benchmark.removals(**options(tiny_canvas, tmp_path / "out", entrants=[entrant]))
    assert not (tmp_path / "out").exists()


def test_the_order_is_drawn_and_neighbours_are_of_the_same_kind(tiny_canvas: Path) -> None:
    orders = {benchmark.order(str(tiny_canvas), 4, seed) for seed in range(5)}
    assert len(orders) > 1 and all(len(set(each)) == 4 for each in orders)
    assert benchmark.order(str(tiny_canvas), 4, 0) == benchmark.order(str(tiny_canvas), 4, 0)
    near = benchmark.neighbours(load(tiny_canvas, device="cpu"), ["object:cat", "style:sketch"])
    assert {label.partition(":")[0] for label in near["object:cat"]} == {"object"} and "object:cat" not in near["object:cat"]
    assert set(near["style:sketch"]) == {"style:photo", "style:pixel art"}
    with pytest.raises(ValueError, match="ask for fewer"):
        benchmark.order(str(tiny_canvas), 6, 0)


def test_those_of_the_benchmark_are_there() -> None:
    assert [benchmark.Service.parts(text)[0].method.name for text in benchmark.ENTRANTS] == [
        "mim",
        "mim",
        "uce",
        "uce",
        "esd",
        "duge",
    ]


def test_the_slope_is_that_of_least_squares() -> None:
    assert slope([(1, 100.0), (2, 97.0), (4, 95.0)]) == pytest.approx(-1.5714285714)
    assert slope([(3, 1.0)]) is None and slope([(3, 1.0), (3, 2.0)]) is None
