"""The tables of docs/benchmark.md say what the committed cells say."""

from __future__ import annotations

from pathlib import Path

import pytest

import made_up
import table as benchmark
from excise.results.cell import Cell
from excise.results.evaluation import Figures
from made_up import figure

DOCS = Path(__file__).parents[1] / "docs"
PARTS = dict(
    zip(("all", "subset"), (DOCS / "benchmark.md").read_text(encoding="utf-8").split("\n## Beside the trained"), strict=True)
)


@pytest.mark.parametrize(("folder", "seconds"), [("all", True), ("subset", False)])
def test_every_row_is_that_of_the_cells(folder: str, seconds: bool) -> None:
    cells = benchmark.read(DOCS / "benchmark" / folder)
    made = [line for kind in ("object", "style") for line in benchmark.table(cells, kind, seconds=seconds)]
    shown = [line for line in PARTS[folder].splitlines() if line.startswith("|")]
    assert shown == made


def test_a_row_by_hand() -> None:
    """Two erasures: means of what is left and kept, the largest share of nats, the steering farthest from 0, the worst other by name."""

    def cell(name: str, erased: float, left: float, steering: float, worst: float) -> Cell:
        least = made_up.named(f"object:near {name}", worst)
        words = made_up.words(share=figure(left), steering=figure(steering), mean=figure(0.9), worst=least)
        kept = {"ira_of_base": 1.0, "cra_of_base": 0.9, "ira_worst": worst, "cra_worst": 0.8, "fid_base": figure(2.0)}
        return made_up.cell("m", f"object:{name}", ua=1 - erased, information=words, seconds=3.0, **kept)

    cells = [cell("cat", 0.04, 0.01, -0.2, 0.7), cell("dog", 0.02, 0.05, 0.1, 0.5)]
    wanted = "| `m` | 2 | +1.0 | 97.0 | 100.0, 90.0 | 50, 80 | 2.0 | 3.0 % (5) | -0.05, -0.20 | 90.0 % | 50 % (*near dog* after *dog*) | 3.0 |"
    assert benchmark.table(cells, "object", seconds=True)[2:] == [wanted]
    elsewhere = [cells[0], cells[1].model_copy(update={"machine": "aarch64, 8 cores"})]
    assert benchmark.table(elsewhere, "object", seconds=True)[2:] == [wanted.replace("| 3.0 |", "| - |")]
    joint = cells[0].model_copy(update={"concepts": ("object:cat", "object:dog")})
    assert benchmark.table([joint], "object")[2:] == []


def test_a_member_by_hand() -> None:
    words = made_up.words(share=figure(0.01), mean=figure(0.98), worst=made_up.named("object:bird", 0.85))
    base = Figures(ua=figure(0.04), nra=figure(0.9375), ora=figure(0.95))
    rates = {"neutral": figure(0.01), "nra": figure(0.9), "ora": figure(0.95), "cra_of_base": 1.0, "fid_base": figure(2.64)}
    owl = made_up.cell("m", "object:owl", ua=0.98, information=words, base=base, **rates)
    cells = [owl.model_copy(update={"concepts": (label,)}) for label in ("member:owl", "object:cat")]
    assert benchmark.members(cells)[2:] == ["| *owl* | +1.0 | 98.0 | 96 | 100, 100 | 2.6 | 1.0 % | 98.0 % | 85 % (*bird*) |"]


def test_a_folder_without_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no cells of a benchmark"):
        benchmark.read(tmp_path)


def test_cells_without_nats_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="exclude were made without nats"):
        benchmark.read(DOCS / "benchmark" / "exclude")
