"""The tables of docs/benchmark.md and docs/mim.md, from the cells of a benchmark.

    python benchmarks/table.py docs/benchmark/subset [--seconds]
    python benchmarks/table.py docs/benchmark/members --members

A row per method, the nearest to the neutral rate first: means over erasures, and the single worst. With --members a row per erased member.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from excise.report.bench_table import read_cells, value
from excise.report.method_table import mean
from excise.results.cell import Cell

COLUMNS = (
    "", "n", "erased − neutral", "UA", "IRA, CRA of base", "worst IRA, CRA", "FID", "nats left (most)",
    "steering: mean, farthest from 0", "nats kept: mean", "worst",
)  # fmt: skip


def read(folder: Path) -> list[Cell]:
    """The cells that did not fail. Raises FileNotFoundError if there are none, ValueError if some were made without nats."""
    cells = read_cells(folder)
    if not cells:
        raise FileNotFoundError(f"no cells of a benchmark in {folder}")
    good = [cell for cell in cells if not cell.error]
    if any(cell.information is None for cell in good):
        raise ValueError(f"cells in {folder} were made without nats, which these tables show; its results.md has the rest")
    return good


def table(cells: Iterable[Cell], kind: str, *, seconds: bool = False) -> list[str]:
    """Lines of Markdown: erasures of single concepts of a kind ("object", "style")."""
    own: dict[str, list[Cell]] = {}
    for cell in cells:
        if len(cell.concepts) == 1 and cell.concepts[0].startswith(f"{kind}:"):
            own.setdefault(cell.entrant, []).append(cell)
    columns = (*COLUMNS, *(["seconds"] if seconds else []))
    return [
        f"| {' | '.join(columns)} |".replace("|  |", "| |"),
        "|---" * len(columns) + "|",
        *(
            f"| {' | '.join(row(method, own[method], seconds))} |"
            for method in sorted(own, key=lambda m: abs(_mean(own[m], "left")))
        ),
    ]


def members(cells: Iterable[Cell]) -> list[str]:
    """Lines of Markdown: a row per erased member of an object; nra and ora are of the object's other members and of other objects."""
    columns = (
        "", "erased − neutral", "UA", "other members of base", "other objects, styles of base", "FID", "nats left", "nats kept: mean", "worst",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |".replace("|  |", "| |"), "|---" * len(columns) + "|"]
    for cell in cells:
        kind, _, name = cell.concepts[0].partition(":")
        if kind == "member" and len(cell.concepts) == 1:
            found, (least, concept) = figures_of(cell), worst(cell)
            base = figures_of(cell.model_copy(update={"evaluation": cell.evaluation and cell.evaluation.of_base()}))
            entries = (
                f"*{name}*",
                f"{100 * (found('erased') - found('neutral')):+.1f}",
                f"{100 * found('ua'):.1f}",
                f"{100 * found('nra') / base('nra'):.0f}",
                f"{100 * found('ora') / base('ora'):.0f}, {100 * found('cra_of_base'):.0f}",
                f"{found('fid_base'):.1f}",
                f"{100 * found('nats_share_left'):.1f} %",
                f"{100 * found('nats_kept'):.1f} %",
                f"{100 * least:.0f} % (*{concept.partition(':')[2]}*)",
            )
            lines.append(f"| {' | '.join(entries)} |")
    return lines


def row(method: str, cells: Sequence[Cell], seconds: bool) -> list[str]:
    shares = [figures_of(cell)("nats_share_left") for cell in cells]
    steering = [figures_of(cell)("steering") for cell in cells]
    least, concept, erased = min((*worst(cell), cell.concepts[0]) for cell in cells)
    return [
        f"`{method}`",
        str(len(cells)),
        f"{100 * _mean(cells, 'left'):+.1f}",
        f"{100 * _mean(cells, 'ua'):.1f}",
        ", ".join(f"{100 * _mean(cells, key):.1f}" for key in ("ira_of_base", "cra_of_base")),
        ", ".join(f"{100 * min(figures_of(cell)(key) for cell in cells):.0f}" for key in ("ira_worst", "cra_worst")),
        f"{_mean(cells, 'fid_base'):.1f}",
        f"{100 * _mean(cells, 'nats_left'):.1f} % ({100 * max(shares):.0f})",
        f"{_mean(cells, 'steering'):.2f}, {max(steering, key=abs):.2f}",
        f"{100 * _mean(cells, 'nats_kept'):.1f} %",
        f"{100 * least:.0f} % (*{concept.partition(':')[2]}* after *{erased.partition(':')[2]}*)",
        *([_seconds(cells)] if seconds else []),
    ]


def figures_of(cell: Cell) -> Callable[[str], float]:
    """Figures of a cell by their columns in `results.csv`. Raises ValueError for one that was not measured."""

    def read(name: str) -> float:
        found = value(cell, name)
        if found is None:
            raise ValueError(f"{cell.about}: {name} was not measured")
        return found

    return read


def worst(cell: Cell) -> tuple[float, str]:
    """The share of its nats that the other concept keeps that lost most, and that concept."""
    assert cell.information and cell.information.kept and cell.information.kept.worst
    found = cell.information.kept.worst
    return found.value, found.concept


def _seconds(cells: Sequence[Cell]) -> str:
    """Mean time of an erasure; "-" for cells that were made on different machines."""
    machines = {cell.machine for cell in cells}
    return f"{_mean(cells, 'seconds'):.1f}" if len(machines) == 1 else "-"


def _mean(cells: Sequence[Cell], key: str) -> float:
    """Of a figure that all have, as the report has it: seeds of one concept first."""
    found = mean(cells, key)
    assert found is not None, key
    return found.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", action="store_true", help="also the mean time of an erasure")
    parser.add_argument("--members", action="store_true", help="of members of objects")
    options = parser.parse_args()
    try:
        cells = read(options.folder)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if options.members:
        print("\n".join(members(cells)))
        return
    for kind in ("object", "style"):
        print("\n".join(table(cells, kind, seconds=options.seconds)), end="\n\n")


if __name__ == "__main__":
    main()
