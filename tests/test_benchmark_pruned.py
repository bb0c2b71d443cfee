"""The benchmark of pruned models: every way has its cell, what is there is not made again, and steps are within the budget."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import pruned as benchmark
from excise.files import read_json

QUICK: dict[str, Any] = {
    "batch": 2,
    "pictures": 2,
    "picture_steps": 1,
    "retain": "a dog; a bird",
    "retained": 2,
    "wording": "name",
}
ENTRANTS = (benchmark.WHOLE, "alternating, mim")


@pytest.fixture
def bench(tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> benchmark.Bench:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    return benchmark.Bench(
        tmp_path / "bench", tmp_path / "models", str(tiny_canvas), budget=22, rounds=2, keep=0.7, distilling=QUICK, device="cpu",
        pictures={"target_pictures": 2, "other_pictures": 1}, real=6, nats=1,
    )  # fmt: skip


def test_every_way_has_a_cell(bench: benchmark.Bench) -> None:
    assert benchmark.run(bench, ENTRANTS, ["cat"]) == []
    cells = {name: benchmark.cell_file(bench, name, "cat") for name in ENTRANTS}
    found = read_json(cells["alternating, mim"])
    (learned,) = found["distilled"]
    assert (learned["mode"], learned["upper"], learned["concepts"]) == ("alternating", "mim", ["object:cat"])
    assert found["information"]["settings"]["base"] == "tiny canvas" and found["evaluation"]["fid_real"]["value"] > 0
    assert learned["settings"]["rounds"] * learned["settings"]["steps"] == 20
    rows = [line.split(" | ") for line in benchmark.table(bench)]
    assert [row[0].strip("| ") for row in rows[2:]] == list(ENTRANTS)
    assert all(len(row) == len(benchmark.COLUMNS) and row[3] != "-" for row in rows[2:])
    before = {file: os.stat(file).st_mtime_ns for file in (*cells.values(), *bench.models.glob("**/student.json"))}
    assert benchmark.run(bench, ENTRANTS, ["cat"]) == []
    assert {file: os.stat(file).st_mtime_ns for file in before} == before


def test_what_fails_is_told_and_tried_again(bench: benchmark.Bench) -> None:
    (line,) = benchmark.run(bench, ["pruned"], ["cta"])
    assert line.startswith("pruned, cta: ") and "did you mean" in line and not list(bench.out.glob("**/*.json"))


@pytest.mark.parametrize("entrant", benchmark.ENTRANTS)
def test_no_way_takes_more_than_the_budget(entrant: str, bench: benchmark.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradient steps on the way to a model, counted as they are asked for."""
    taken: list[int] = []

    def distill(student: Path, settings: dict[str, Any], mode: str = "penalty", erase: Any = (), **given: Any) -> None:
        steps = settings["rounds"] * settings["steps"]
        taken.append(steps + (steps // 10 if mode == "alternating" and erase else 0))

    def erase(concept: str, method: str, settings: dict[str, Any], **given: Any) -> None:
        parsed = benchmark.get(method).parse(settings)
        taken.append(getattr(parsed, "rounds", 0) * getattr(parsed, "steps", 0))

    monkeypatch.setattr(benchmark, "distill", distill)
    monkeypatch.setattr(benchmark, "erase", erase)
    for name in ("apply", "prune"):
        monkeypatch.setattr(benchmark, name, lambda *_, **given: given)
    benchmark.ENTRANTS[entrant](benchmark.Bench(bench.out, bench.models), "cat")
    assert sum(taken) <= benchmark.BUDGET
    assert sum(taken) >= 0.97 * benchmark.BUDGET or entrant in (benchmark.WHOLE, "pruned")
