"""The tables of docs/benchmark.md, from the cells of a benchmark.

    python benchmarks/table.py docs/benchmark/subset [--seconds]

A row per method, the nearest to the neutral rate first, or in the order of --methods: means over erasures, and the single worst.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from excise.files import read_json

COLUMNS = (
    "", "n", "erased − neutral", "UA", "IRA, CRA of base", "worst IRA, CRA", "FID", "nats left (most)",
    "steering: mean, farthest from 0", "nats kept: mean", "worst",
)  # fmt: skip

Cell = Mapping[str, Any]


def read(folder: Path) -> list[Cell]:
    """The cells that did not fail. Raises FileNotFoundError if there are none."""
    cells = [read_json(path) for path in sorted((folder / "cells").glob("*/*.json"))]
    if not cells:
        raise FileNotFoundError(f"no cells of a benchmark in {folder}")
    return [cell for cell in cells if "error" not in cell]


def table(cells: Iterable[Cell], kind: str, methods: Sequence[str] = (), *, seconds: bool = False) -> list[str]:
    """Lines of Markdown: erasures of single concepts of a kind ("object", "style")."""
    own: dict[str, list[Cell]] = {method: [] for method in methods}
    for cell in cells:
        if (
            len(cell["concepts"]) == 1
            and cell["concepts"][0].startswith(f"{kind}:")
            and cell["entrant"] in (methods or [cell["entrant"]])
        ):
            own.setdefault(cell["entrant"], []).append(cell)
    found = {method: group for method, group in own.items() if group}
    if not methods:
        found = dict(sorted(found.items(), key=lambda item: abs(_mean(item[1], _left))))
    columns = (*COLUMNS, *(["seconds"] if seconds else []))
    return [
        f"| {' | '.join(columns)} |".replace("|  |", "| |"),
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(row(method, group, seconds))} |" for method, group in found.items()),
    ]


def row(method: str, cells: Sequence[Cell], seconds: bool) -> list[str]:
    shares = [cell["information"]["nats"]["share_left"]["value"] for cell in cells]
    steering = [cell["information"]["steering"]["value"] for cell in cells]
    worst, concept, erased = min(
        (kept["value"], kept["concept"], cell["concepts"][0])
        for cell in cells
        for kept in [cell["information"]["kept"]["worst"]]
    )
    return [
        f"`{method}`",
        str(len(cells)),
        f"{100 * _mean(cells, _left):+.1f}",
        f"{100 * _mean(cells, lambda cell: cell['ua']):.1f}",
        ", ".join(f"{100 * _mean(cells, lambda cell, key=key: cell[key]):.1f}" for key in ("ira_of_base", "cra_of_base")),
        ", ".join(f"{100 * min(cell[key] for cell in cells):.0f}" for key in ("ira_worst", "cra_worst")),
        f"{_mean(cells, lambda cell: cell['fid_base']):.1f}",
        f"{100 * sum(shares) / len(shares):.1f} % ({100 * max(shares):.0f})",
        f"{sum(steering) / len(steering):.2f}, {max(steering, key=abs):.2f}",
        f"{100 * _mean(cells, lambda cell: cell['information']['kept']['mean']['value']):.1f} %",
        f"{100 * worst:.0f} % (*{concept.partition(':')[2]}* after *{erased.partition(':')[2]}*)",
        *([f"{_mean(cells, lambda cell: cell['seconds']):.1f}"] if seconds else []),
    ]


def _left(cell: Cell) -> float:
    return float(cell["erased"] - cell["neutral"])


def _mean(cells: Sequence[Cell], figure: Callable[[Cell], float]) -> float:
    return sum(figure(cell) for cell in cells) / len(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=(), metavar="METHOD")
    parser.add_argument("--seconds", action="store_true", help="also the mean time of an erasure")
    options = parser.parse_args()
    cells = read(options.folder)
    for kind in ("object", "style"):
        print("\n".join(table(cells, kind, options.methods, seconds=options.seconds)), end="\n\n")


if __name__ == "__main__":
    main()
