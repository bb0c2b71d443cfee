"""What MiM-MU is meant to reach, beside what was measured: a table of docs/research/mim/results.md, from the cells of benchmarks.

    python benchmarks/goals.py docs/benchmark/all [docs/benchmark/seed] [--methods mim spm]

A column per method and seed, means over its erasures of single concepts or the single worst; what is reached is in bold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import table as benchmark
from excise.results.cell import Cell

Cells = Sequence[Cell]


@dataclass(frozen=True)
class Goal:
    """A figure of all erasures of a method and seed (None: not measured), and from where to where it is to be."""

    text: str
    figure: Callable[[Cells], float | None]
    least: float = float("-inf")
    most: float = float("inf")
    form: str = "{:.1f}"

    def entry(self, cells: Cells) -> str:
        value = self.figure(cells)
        if value is None:
            return "-"
        shown = self.form.format(value)
        return f"**{shown}**" if self.least <= value <= self.most else shown


def _points(key: str) -> Callable[[Cells], float]:
    """Mean of a share that every cell has, in per cent."""
    return lambda cells: 100 * fmean(benchmark.figures_of(cell)(key) for cell in cells)


def _least(*keys: str) -> Callable[[Cells], float]:
    return lambda cells: 100 * min(benchmark.figures_of(cell)(key) for cell in cells for key in keys)


def _of_words(
    figure: Callable[[Cell], float | None], over: Callable[[Sequence[float]], float]
) -> Callable[[Cells], float | None]:
    """`over` all cells of a figure of what a cell says in nats; None if one does not have it."""

    def found(cells: Cells) -> float | None:
        values = [figure(cell) for cell in cells]
        told = [value for value in values if value is not None]
        return over(told) if len(told) == len(values) else None

    return found


def _steering_off(over: Callable[[Sequence[float]], float]) -> Callable[[Cell], float | None]:
    """`over` the other concepts, how far from 1 the steering is; only cells since November 2026 say it."""

    def found(cell: Cell) -> float | None:
        others = cell.information.steering_of_others if cell.information else ()
        return over([abs(1 - other.value) for other in others]) if others else None

    return found


def _destroyed(cell: Cell) -> float:
    """Per cent of the words' nats in the base model."""
    figures = benchmark.figures_of(cell)
    return 100 * figures("destruction") / figures("nats_base")


def _left(cell: Cell) -> float:
    return 100 * benchmark.figures_of(cell)("nats_share_left")


def _steering(cell: Cell) -> float:
    return abs(benchmark.figures_of(cell)("steering"))


def _kept(name: str) -> Callable[[Cell], float]:
    return lambda cell: 100 * benchmark.figures_of(cell)(name)


GOALS = (
    Goal(
        "erased − neutral, mean: at most 0.5 points",
        lambda cells: 100 * fmean(benchmark.figures_of(c)("erased") - benchmark.figures_of(c)("neutral") for c in cells),
        most=0.5,
        form="{:+.1f}",
    ),
    Goal("IRA of base, mean: at least 99 %", _points("ira_of_base"), least=99),
    Goal("CRA of base, mean: at least 99 %", _points("cra_of_base"), least=99),
    Goal("IRA, CRA of the worst concept: at least 95 %", _least("ira_worst", "cra_worst"), least=95, form="{:.0f}"),
    Goal("nats left, mean: at most 2 %", _of_words(_left, fmean), most=2),
    Goal("steering, mean distance from 0: at most 0.05", _of_words(_steering, fmean), most=0.05, form="{:.3f}"),
    Goal("steering, farthest: at most 0.05", _of_words(_steering, max), most=0.05, form="{:.2f}"),
    Goal("steering of others, mean distance from 1: at most 0.05", _of_words(_steering_off(fmean), fmean), most=0.05, form="{:.3f}"),
    Goal("steering of others, farthest from 1: at most 0.05", _of_words(_steering_off(max), max), most=0.05, form="{:.2f}"),
    Goal("nats that others keep, mean: at least 98 %", _of_words(_kept("nats_kept"), fmean), least=98),
    Goal(
        "nats that others keep, worst: at least 90 %",
        _of_words(_kept("nats_kept_worst"), min),
        least=90,
        form="{:.0f}",
    ),
    Goal("destroyed, mean: at most 1 % of the base's nats", _of_words(_destroyed, fmean), most=1),
    Goal("destroyed, most: at most 1 %", _of_words(_destroyed, max), most=1),
)  # fmt: skip


def read(folders: Sequence[Path], methods: Sequence[str]) -> dict[tuple[str, int], list[Cell]]:
    """Cells of single concepts by method and seed. Raises FileNotFoundError for a method that has none, and as `table.read` does."""
    cells = [cell for folder in folders for cell in benchmark.read(folder) if len(cell.concepts) == 1]
    found: dict[tuple[str, int], list[Cell]] = {}
    for method in methods:
        for cell in cells:
            if cell.entrant == method:
                found.setdefault((method, cell.seed), []).append(cell)
        if not any(own == method for own, _ in found):
            raise FileNotFoundError(f"no cells of {method} in {', '.join(map(str, folders))}")
    return found


def table(cells: dict[tuple[str, int], list[Cell]]) -> list[str]:
    """Lines of Markdown: a row per goal, and one of FID, whose goal is the least of all."""
    fid = {key: fmean(benchmark.figures_of(cell)("fid_base") for cell in own) for key, own in cells.items()}
    least = {seed: min(value for (_, other), value in fid.items() if other == seed) for _, seed in fid}
    beside = [seed for _, seed in cells]
    best = [beside.count(key[1]) > 1 and fid[key] == least[key[1]] for key in cells]
    lowest = [f"**{fid[key]:.1f}**" if first else f"{fid[key]:.1f}" for key, first in zip(cells, best, strict=True)]
    rows = [
        ["goal", *(f"`{method}`, seed {seed}" for method, seed in cells)],
        ["erasures", *(str(len(own)) for own in cells.values())],
        *([goal.text, *(goal.entry(own) for own in cells.values())] for goal in GOALS),
        ["FID of what is kept, mean: the least of all", *lowest],
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--methods", nargs="+", default=["mim"], metavar="METHOD")
    options = parser.parse_args()
    try:
        print("\n".join(table(read(options.folders, options.methods))))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
