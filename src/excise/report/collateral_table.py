"""The collateral matrix: what erasing each concept did to every other one, from a benchmark's cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from excise.results.cell import Cell
from excise.results.evaluation import ConceptShares


@dataclass(frozen=True)
class Damage:
    """What erasing one concept left of one other.

    base, edited share of its pictures that show it, mean over the cells (seeds)
    kept         edited / base, capped at 1; None where the base model does not show it either
    n            pictures in all
    target       whether it is the erased one itself
    """

    base: float
    edited: float
    n: int
    target: bool

    @property
    def kept(self) -> float | None:
        return min(1.0, self.edited / self.base) if self.base else None


@dataclass(frozen=True)
class Matrix:
    """One entrant's matrix: (erased, concept) -> damage; labels in the order they first appear, erased ones first."""

    erased: tuple[str, ...]
    concepts: tuple[str, ...]
    cells: Mapping[tuple[str, str], Damage]

    def values(self) -> list[list[float | None]]:
        """`kept` by row (erased) and column (concept); None where it was not measured."""
        found = [[self.cells.get((row, column)) for column in self.concepts] for row in self.erased]
        return [[damage.kept if damage else None for damage in row] for row in found]


def matrix(cells: Sequence[Cell], entrant: str) -> Matrix:
    """The matrix of one entrant; cells that failed, and erasures of several concepts at once, are left out.

    Raises ValueError if the entrant has no cell.
    """
    own = [cell for cell in cells if cell.entrant == entrant]
    if not own:
        raise ValueError(f"no cell of {entrant!r}")
    parts: dict[tuple[str, str], list[ConceptShares]] = {}
    targets: set[tuple[str, str]] = set()
    for cell in own:
        if cell.evaluation is None or len(cell.concepts) != 1:
            continue
        (erased,) = cell.concepts
        targets |= {(erased, shares.concept) for shares in cell.evaluation.targets}
        for shares in (*cell.evaluation.targets, *cell.evaluation.retained):
            parts.setdefault((erased, shares.concept), []).append(shares)
    found = {pair: _damage(shares, pair in targets) for pair, shares in parts.items()}
    rows = tuple(dict.fromkeys(pair[0] for pair in found))
    return Matrix(rows, tuple(dict.fromkeys([*rows, *(pair[1] for pair in found)])), found)


def to_csv(cells: Sequence[Cell]) -> str:
    """Every entrant's matrix as a long table."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["entrant", "erased", "concept", "base", "edited", "kept", "n", "is_target"])
    for entrant in dict.fromkeys(cell.entrant for cell in cells):
        for (erased, label), damage in matrix(cells, entrant).cells.items():
            kept = "" if damage.kept is None else damage.kept
            writer.writerow([entrant, erased, label, damage.base, damage.edited, kept, damage.n, int(damage.target)])
    return text.getvalue()


def _damage(parts: Sequence[ConceptShares], target: bool) -> Damage:
    base, edited = (sum(getattr(shares, side) for shares in parts) / len(parts) for side in ("base", "edited"))
    return Damage(base, edited, sum(shares.n for shares in parts), target)
