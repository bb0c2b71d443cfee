"""Tables of benchmarks: means, the single worst, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import made_up
import table as benchmark
from excise.results.cell import Cell
from excise.results.evaluation import Figures
from made_up import figure

DOCS = Path(__file__).parents[1] / "docs"


def rows(lines: list[str]) -> tuple[list[str], list[str]]:
    """Of the table of what is left and of that of what is kept, without their heads."""
    between = lines.index("")
    return lines[2:between], lines[between + 3 :]


def test_a_row_by_hand() -> None:
    """Two erasures: means of what is left and kept, the largest share of nats, the steering farthest from 0, the worst other by name."""

    def cell(name: str, erased: float, left: float, steering: float, worst: float) -> Cell:
        least = made_up.named(f"object:near {name}", worst)
        words = made_up.words(share=figure(left), steering=figure(steering), mean=figure(0.9), worst=least)
        kept = {"ira_of_base": 1.0, "cra_of_base": 0.9, "ira_worst": worst, "cra_worst": 0.8, "fid_base": figure(2.0)}
        return made_up.cell("m", f"object:{name}", ua=1 - erased, information=words, seconds=3.0, **kept)

    cells = [cell("cat", 0.04, 0.01, -0.2, 0.7), cell("dog", 0.02, 0.05, 0.1, 0.5)]
    left, kept = rows(benchmark.table(cells, "object", seconds=True))
    assert left == ["| `m` | 2 | +1.0 | 97.0 | 3.0 % (5) | -0.05, -0.20 |"]
    assert kept == ["| `m` | 100.0, 90.0 | 50, 80 | 2.0 | 90.0 % | 50 % (*near dog* after *dog*) | 3.0 |"]
    elsewhere = [cells[0], cells[1].model_copy(update={"machine": "aarch64, 8 cores"})]
    assert rows(benchmark.table(elsewhere, "object", seconds=True))[1] == [kept[0].replace("| 3.0 |", "| - |")]
    joint = cells[0].model_copy(update={"concepts": ("object:cat", "object:dog")})
    assert rows(benchmark.table([joint], "object")) == ([], [])


def test_a_member_by_hand() -> None:
    words = made_up.words(share=figure(0.01), mean=figure(0.98), worst=made_up.named("object:bird", 0.85))
    base = Figures(ua=figure(0.04), nra=figure(0.9375), ora=figure(0.95))
    rates = {"neutral": figure(0.01), "nra": figure(0.9), "ora": figure(0.95), "cra_of_base": 1.0, "fid_base": figure(2.64)}
    owl = made_up.cell("m", "object:owl", ua=0.98, information=words, base=base, **rates)
    cells = [owl.model_copy(update={"concepts": (label,)}) for label in ("member:owl", "object:cat")]
    left, kept = rows(benchmark.members(cells))
    assert left == ["| *owl* | +1.0 | 98.0 | 1.0 % |"]
    assert kept == ["| *owl* | 96 | 100, 100 | 2.6 | 98.0 % | 85 % (*bird*) |"]


def test_a_folder_without_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no cells of a benchmark"):
        benchmark.read(tmp_path)


def test_cells_without_nats_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="exclude were made without nats"):
        benchmark.read(DOCS / "benchmark" / "exclude")
