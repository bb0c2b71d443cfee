"""Methods beside one of them, concept by concept: is a difference more than chance?

    python benchmarks/paired.py docs/benchmark/subset [--against mim] [--kind object]

Two tables, a row for each method: its mean over concepts, and in brackets the 95 % interval of its difference from the other one, by a
bootstrap over the concepts that both erased. A difference is bold where its interval does not hold zero: only then one of the two is ahead.
Where a concept was erased with several seeds, their mean is one value; the last column of the second table is how far seeds are apart.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import torch

from excise.randomness import seeded
from excise.report.bench_table import read_cells, value
from excise.resampling import CONCEPT_RESAMPLES, bootstrap, resample
from excise.results.cell import Cell
from markdown_table import markdown


@dataclass(frozen=True)
class Column:
    """A figure of a cell, in per cent or as it is.

    read  (cell) -> the figure; None where it was not measured
    """

    title: str
    read: Callable[[Cell], float | None]
    percent: bool = True

    def of(self, cells: Iterable[Cell]) -> dict[str, list[float]]:
        """By concept, the figures of its seeds."""
        found: dict[str, list[float]] = {}
        for cell in cells:
            if (figure := self.read(cell)) is not None:
                found.setdefault("+".join(cell.concepts), []).append(figure * (100 if self.percent else 1))
        return found


def _figure(name: str) -> Callable[[Cell], float | None]:
    return lambda cell: value(cell, name)


def _shown(cell: Cell) -> float | None:
    """How far the erased concept is from being shown as often as without its words."""
    erased, neutral = value(cell, "erased"), value(cell, "neutral")
    return None if erased is None or neutral is None else abs(erased - neutral)


LEFT = (
    Column("from neutral, points", _shown),
    Column("nats left, %", _figure("nats_share_left")),
    Column("nats kept, %", _figure("nats_kept")),
)
KEPT = (
    Column("IRA of base, %", _figure("ira_of_base")),
    Column("CRA of base, %", _figure("cra_of_base")),
    Column("FID", _figure("fid_base"), percent=False),
)


def tables(cells: Sequence[Cell], against: str) -> list[str]:
    """Lines of Markdown. Raises ValueError if nothing was erased by the method that the others stand beside."""
    entrants: dict[str, list[Cell]] = {}
    for cell in cells:
        entrants.setdefault(cell.entrant, []).append(cell)
    if against not in entrants:
        raise ValueError(f"no cells of {against!r}; there are some of {', '.join(entrants)}")
    names = [against, *sorted(entrants.keys() - {against})]
    lines = []
    for columns, seeds in ((LEFT, False), (KEPT, True)):
        rows = [_row(name, entrants[name], entrants[against], columns, seeds) for name in names]
        titles = ("method", "concepts", *(column.title for column in columns), *(["seeds apart by"] if seeds else []))
        lines += [*markdown(titles, rows), ""]
    return lines[:-1]


def _row(name: str, own: Sequence[Cell], other: Sequence[Cell], columns: Sequence[Column], seeds: bool) -> list[str]:
    row = [f"`{name}`", str(len({cell.concepts for cell in own}))]
    for column in columns:
        row.append(_cell(column.of(own), column.of(other), same=own is other))
    return [*row, *([_apart(own)] if seeds else [])]


def _cell(own: dict[str, list[float]], other: dict[str, list[float]], *, same: bool) -> str:
    """The mean, and how far it is from the other's on the concepts that both have."""
    if not own:
        return "-"
    mean = f"{fmean(fmean(seeds) for seeds in own.values()):.1f}"
    both = sorted(own.keys() & other.keys())
    if same or not both:
        return mean
    differences = torch.tensor([fmean(own[concept]) - fmean(other[concept]) for concept in both], dtype=torch.float64)
    estimate, _ = bootstrap(lambda x: x.mean(-1), [differences], resample(len(both), seeded(0), CONCEPT_RESAMPLES))
    told = f"{estimate.value:+.1f}" + (f", {estimate.low:+.1f} to {estimate.high:+.1f}" if math.isfinite(estimate.low) else "")
    return f"{mean} ({f'**{told}**' if estimate.low > 0 or estimate.high < 0 else told})"


def _apart(cells: Sequence[Cell]) -> str:
    """Spread over seeds of the erased rate, in points: the root mean square of its standard deviations."""
    spreads = [stdev(seeds) ** 2 for seeds in Column("", _figure("erased")).of(cells).values() if len(seeds) > 1]
    return f"{math.sqrt(fmean(spreads)):.1f}" if spreads else "-"


def read(folders: Iterable[Path], kind: str | None) -> list[Cell]:
    """The cells of all folders that did not fail and whose concepts are of a kind."""
    found = [cell for folder in folders for cell in read_cells(folder) if not cell.error]
    return [cell for cell in found if kind is None or cell.concepts[0].startswith(f"{kind}:")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--against", default="mim", help="the method that the others stand beside, as its cells name it")
    parser.add_argument("--kind", choices=("object", "style", "member"), help="of what was erased; default all")
    options = parser.parse_args()
    try:
        print("\n".join(tables(read(options.folders, options.kind), options.against)))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
