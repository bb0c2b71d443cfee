"""Whether guidance brings back what an edit steers away from: a table of docs/research/audit, from audits and cells.

    python benchmarks/steering.py docs/benchmark/audits docs/benchmark/subset docs/benchmark/gold

Every erasure that was audited with `guidance` and measured in nats, by the steering coefficient of its words: 1 means that they still steer to
the concept, 0 that they say nothing, below 0 that they steer away from it. Guidance -1 turns such a direction round.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

from excise.results.audit_result import AuditFile, Outcome
from excise.results.cells import stored_cells

EDGES = (-inf, -0.2, -0.05, 0.05, 0.2, inf)
"""Of the rows; within 0.05 of 0 is what docs/research/mim/results.md asks for."""

COLUMNS = ("steering", "erasures", "guidance -1", "its control", "any factor", "its control", "revived")


Count = tuple[int, int]
"""Prompts that showed the concept, of how many tried."""


@dataclass(frozen=True)
class Erasure:
    """Of one method and concept: the coefficient, and counts with guidance -1 and with any factor, each beside its control's."""

    steering: float
    counts: tuple[Count, Count, Count, Count]
    revived: bool


def read(audits: Path, folders: Iterable[Path]) -> list[Erasure]:
    """Erasures of which both is there; of several benchmarks the first that has one. Raises FileNotFoundError if there is none."""
    cells: dict[tuple[str, str], float] = {}
    for folder in folders:
        for path, cell in stored_cells(folder).items():
            if len(cell.concepts) == 1 and cell.information and cell.information.steering:
                cells.setdefault((path.parent.name, path.stem), cell.information.steering.value)
    found = []
    for path in sorted((audits / "audits").glob("*/*/audit.json")):
        attacks = (one.compared for one in AuditFile.read(path).attacks if one.attack == "guidance")
        guided = next((compared for compared in attacks if compared), None)
        if guided and (key := path.parts[-3:-1]) in cells:
            own, control = guided.erased, guided.controls["neutral"]
            counts = _negated(own), _negated(control), _any(own), _any(control)
            found.append(Erasure(cells[key[0], key[1]], counts, guided.verdict == "revived"))
    if not found:
        raise FileNotFoundError(f"no erasure in {audits} was audited with guidance and measured in nats")
    return found


def _negated(model: Outcome) -> Count:
    """None where every prompt showed the concept without attack."""
    return next(((found.shown, found.tried) for found in model.rounds if found.how["kappa"] == -1), (0, 0))


def _any(model: Outcome) -> Count:
    return model.shown, model.rate.n


def table(erasures: Sequence[Erasure]) -> list[str]:
    """Lines of Markdown: a row for each range of the coefficient that has erasures; counts are added up, in per cent."""
    rows = [list(COLUMNS)]
    for low, high in pairwise(EDGES):
        own = [erasure for erasure in erasures if low <= erasure.steering < high]
        if own:
            shares = map(_share, zip(*(erasure.counts for erasure in own), strict=True))
            rows.append([_range(low, high), str(len(own)), *shares, str(sum(erasure.revived for erasure in own))])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(COLUMNS) + "|", *lines[1:]]


def _share(counts: Iterable[Count]) -> str:
    shown, tried = (sum(column) for column in zip(*counts, strict=True))
    return f"{100 * shown / tried:.0f} %" if tried else "-"


def _range(low: float, high: float) -> str:
    return f"below {high}" if low == -inf else f"from {low}" if high == inf else f"{low} to {high}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audits", type=Path)
    parser.add_argument("folders", type=Path, nargs="+", metavar="BENCHMARK")
    options = parser.parse_args()
    try:
        print("\n".join(table(read(options.audits, options.folders))))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
