"""Methods beside one of them: means, differences concept by concept, and what counts as more than chance."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import made_up
import paired
from excise.results.cell import Cell
from made_up import figure


def cell(method: str, concept: str, *, erased: float, kept: float = 1.0, seed: int = 0) -> Cell:
    made = made_up.cell(
        method, f"object:{concept}", ua=1 - erased, neutral=figure(0.1), ira_of_base=kept, cra_of_base=1.0, fid_base=figure(2.0)
    )
    return made.model_copy(update={"seed": seed})


def column(lines: list[str], method: str, title: str) -> str:
    """A field of the first table that has the column."""
    for start, line in enumerate(lines):
        names = [name.strip() for name in line.strip("|").split("|")]
        if title in names:
            row = next(each for each in lines[start:] if each.startswith(f"| `{method}` |"))
            return row.strip("|").split("|")[names.index(title)].strip()
    raise AssertionError(f"no column {title}")


NAMES = [f"c{number}" for number in range(10)]


def test_a_difference_that_every_concept_shows_is_more_than_chance() -> None:
    cells = [cell("mim", name, erased=0.1) for name in NAMES]
    cells += [cell("far", name, erased=0.3 if number % 2 else 0.2, kept=0.9) for number, name in enumerate(NAMES)]
    lines = paired.tables(cells, "mim")
    assert column(lines, "mim", "from neutral, points") == "0.0"
    found = re.fullmatch(r"15\.0 \(\*\*\+15\.0, \+(\S+) to \+(\S+)\*\*\)", column(lines, "far", "from neutral, points"))
    assert found and 10 < float(found[1]) < 15 < float(found[2]) < 20
    assert column(lines, "far", "IRA of base, %") == "90.0 (**-10.0, -10.0 to -10.0**)"
    assert column(lines, "far", "CRA of base, %") == "100.0 (+0.0, +0.0 to +0.0)"


def test_a_difference_that_one_concept_makes_is_not() -> None:
    cells = [cell("mim", name, erased=0.1) for name in NAMES]
    cells += [cell("odd", name, erased=0.9 if name == "c3" else 0.1) for name in NAMES]
    found = column(paired.tables(cells, "mim"), "odd", "from neutral, points")
    assert found.startswith("8.0 (+8.0, ") and "**" not in found


def test_below_neutral_is_as_far_as_above() -> None:
    cells = [cell("mim", name, erased=0.1) for name in NAMES] + [cell("less", name, erased=0.0) for name in NAMES]
    assert column(paired.tables(cells, "mim"), "less", "from neutral, points").startswith("10.0 (**+10.0")


def test_pairs_are_of_the_concepts_that_both_erased() -> None:
    """The mean is of all; the difference of those in common, of which one gives no interval."""
    cells = [
        cell("mim", "c0", erased=0.1),
        cell("mim", "c1", erased=0.5),
        cell("other", "c1", erased=0.3),
        cell("other", "c2", erased=0.1),
    ]
    assert column(paired.tables(cells, "mim"), "other", "from neutral, points") == "10.0 (-20.0)"
    assert column(paired.tables([cells[0], cells[3]], "mim"), "other", "from neutral, points") == "0.0"


def test_seeds_of_a_concept_are_one_value() -> None:
    cells = [cell("mim", "c0", erased=0.1 + 0.02 * seed, seed=seed) for seed in range(3)] + [cell("mim", "c1", erased=0.4)]
    lines = paired.tables(cells, "mim")
    assert column(lines, "mim", "from neutral, points") == "16.0"
    assert column(lines, "mim", "seeds apart by") == "2.0"


def test_what_was_not_measured_is_a_dash() -> None:
    lines = paired.tables([cell("mim", "c0", erased=0.1)], "mim")
    assert column(lines, "mim", "nats left, %") == "-" and column(lines, "mim", "seeds apart by") == "-"


def test_without_the_method_to_stand_beside(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cells of 'mim'; there are some of uce"):
        paired.tables([cell("uce", "c0", erased=0.1)], "mim")
