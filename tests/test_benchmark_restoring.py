"""benchmarks/restoring.py: what is committed says what docs/research/upscaling.md says, and how figures are made of pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import downstream as downstream_bench
import restoring
from excise.files import read_json
from excise.statistics import wilson

TOP = Path(__file__).parents[1]
FOUND = read_json(TOP / "docs/benchmark/restoring/restoring.json")


@pytest.mark.parametrize("way", list(restoring.WAYS))
def test_the_default_fidelity_beats_bicubic(way: str) -> None:
    """In pairs, by intervals; more is better of all but one."""
    better = FOUND["ways"][way]["less bicubic"]["restored, fidelity 0.5"]
    assert FOUND["n"] >= 240 and all(figure["n"] == FOUND["n"] for figure in better.values())
    for name, figure in better.items():
        assert (figure["high"] < 0) if name == "judged" else (figure["low"] > 0), name


def test_the_page_has_these_figures() -> None:
    page = (TOP / "docs/research/upscaling.md").read_text(encoding="utf-8").replace("−", "-")
    for way, title in (("as in training", "made low as in training"), ("only smaller", "only made smaller")):
        rows = page.partition(f"| {title} |")[2].split("\n\n")[0].splitlines()[2:]
        for row, (entrant, figures) in zip(rows, FOUND["ways"][way]["figures"].items(), strict=True):
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            values = [float(re.split(r"[ (]", cell)[0]) for cell in cells[1:]]
            expected = [figures[name]["value"] for name in ("psnr", "ssim", "judged", "object", "style")]
            for value, right, unit, off in zip(
                values, expected, (1, 1, 1, 100, 100), (0.051, 6e-4, 6e-4, 0.051, 0.051), strict=True
            ):
                assert abs(value - unit * right) < off, (entrant, row)


def test_intervals_of_levels() -> None:
    share, other = restoring.level("object", torch.ones(40)), restoring.level("psnr", torch.arange(40.0))
    assert (share["value"], share["n"]) == (1.0, 40) and share["low"] == pytest.approx(wilson(40, 40)[0], abs=1e-5)
    assert other["low"] < other["value"] == 19.5 < other["high"]


def test_the_tables(tmp_path: Path) -> None:
    shown = restoring.table(FOUND)
    assert shown.count("| bicubic |") == 2 and "restored, fidelity 1 less bicubic" in shown
    assert downstream_bench.table(tmp_path).count("\n") == 1, "nothing is measured yet"
