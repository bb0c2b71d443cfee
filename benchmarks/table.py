"""Tables of docs/research, from the cells of a benchmark.

    python benchmarks/table.py docs/benchmark/subset [--kind style] [--seconds]
    python benchmarks/table.py docs/benchmark/members --kind member

Two tables: what is left of the erased, and what became of everything else. A row per method, the nearest to the neutral rate
first: means over erasures, and the single worst. Of members a row per erased member. A third one, of the bystanders, if a cell has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from excise.report.bench_table import read_cells, value
from excise.report.method_table import mean
from excise.results.cell import Cell
from markdown_table import markdown

LEFT = ("method", "erasures", "erased − neutral", "UA", "nats left (most)", "steering: mean, farthest from 0")
KEPT = ("method", "IRA, CRA of base", "worst IRA, CRA", "FID", "nats kept: mean", "worst")
BESIDE = ("method", "erasures", "bystanders of base", "least", "change of their pictures", "most")
MEMBER_LEFT = ("member", "erased − neutral", "UA", "nats left")
MEMBER_KEPT = ("member", "other members of base", "other objects, styles of base", "FID", "nats kept: mean", "worst")


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
    ordered = sorted(own, key=lambda method: abs(_mean(own[method], "left")))
    kept = [[*_kept(method, own[method]), *([_seconds(own[method])] if seconds else [])] for method in ordered]
    columns = (*KEPT, *(["seconds"] if seconds else []))
    lines = [*markdown(LEFT, [_left(method, own[method]) for method in ordered]), "", *markdown(columns, kept)]
    beside = {method: [cell for cell in own[method] if value(cell, "bystanders") is not None] for method in ordered}
    return [*lines, "", *markdown(BESIDE, [_beside(*each) for each in beside.items()])] if any(beside.values()) else lines


def members(cells: Iterable[Cell]) -> list[str]:
    """Lines of Markdown: a row per erased member of an object; nra and ora are of the object's other members and of other objects."""
    left, kept = [], []
    for cell in cells:
        kind, _, name = cell.concepts[0].partition(":")
        if kind == "member" and len(cell.concepts) == 1:
            found, (least, concept) = figures_of(cell), worst(cell)
            base = figures_of(cell.model_copy(update={"evaluation": cell.evaluation and cell.evaluation.of_base()}))
            left.append(
                (
                    f"*{name}*",
                    f"{100 * (found('erased') - found('neutral')):+.1f}",
                    f"{100 * found('ua'):.1f}",
                    f"{100 * found('nats_share_left'):.1f} %",
                )
            )
            kept.append(
                (
                    f"*{name}*",
                    f"{100 * found('nra') / base('nra'):.0f}",
                    f"{100 * found('ora') / base('ora'):.0f}, {100 * found('cra_of_base'):.0f}",
                    f"{found('fid_base'):.1f}",
                    f"{100 * found('nats_kept'):.1f} %",
                    f"{100 * least:.0f} % (*{concept.partition(':')[2]}*)",
                )
            )
    return [*markdown(MEMBER_LEFT, left), "", *markdown(MEMBER_KEPT, kept)]


def _left(method: str, cells: Sequence[Cell]) -> list[str]:
    """What is left of the erased concepts."""
    shares = [figures_of(cell)("nats_share_left") for cell in cells]
    steering = [figures_of(cell)("steering") for cell in cells]
    return [
        f"`{method}`",
        str(len(cells)),
        f"{100 * _mean(cells, 'left'):+.1f}",
        f"{100 * _mean(cells, 'ua'):.1f}",
        f"{100 * _mean(cells, 'nats_left'):.1f} % ({100 * max(shares):.0f})",
        f"{_mean(cells, 'steering'):.2f}, {max(steering, key=abs):.2f}",
    ]


def _kept(method: str, cells: Sequence[Cell]) -> list[str]:
    """What became of everything else."""
    least, concept, erased = min((*worst(cell), cell.concepts[0]) for cell in cells)
    return [
        f"`{method}`",
        ", ".join(f"{100 * _mean(cells, key):.1f}" for key in ("ira_of_base", "cra_of_base")),
        ", ".join(f"{100 * min(figures_of(cell)(key) for cell in cells):.0f}" for key in ("ira_worst", "cra_worst")),
        f"{_mean(cells, 'fid_base'):.1f}",
        f"{100 * _mean(cells, 'nats_kept'):.1f} %",
        f"{100 * least:.0f} % (*{concept.partition(':')[2]}* after *{erased.partition(':')[2]}*)",
    ]


def _beside(method: str, cells: Sequence[Cell]) -> list[str]:
    """What became of things that no method was told of; empty where they were not asked for."""
    if not cells:
        return [f"`{method}`", "0", "", "", "", ""]
    of_base, change = ([figures_of(cell)(name) for cell in cells] for name in ("bystanders_of_base", "bystander_change"))
    shown = [f"{100 * _mean(cells, 'bystanders_of_base'):.1f}", f"{100 * min(of_base):.0f}"]
    return [f"`{method}`", str(len(cells)), *shown, f"{_mean(cells, 'bystander_change'):.3f}", f"{max(change):.3f}"]


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
    parser.add_argument("--kind", choices=("object", "style", "member"), default="object", help="of what was erased")
    parser.add_argument("--seconds", action="store_true", help="also the mean time of an erasure")
    options = parser.parse_args()
    try:
        cells = read(options.folder)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print("\n".join(members(cells) if options.kind == "member" else table(cells, options.kind, seconds=options.seconds)))


if __name__ == "__main__":
    main()
