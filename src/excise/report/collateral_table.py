"""The collateral matrix: what erasing each concept did to every other one, from a benchmark's cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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


def matrix(cells: Sequence[Mapping[str, Any]], entrant: str) -> Matrix:
    """The matrix of one entrant; cells that failed, and erasures of several concepts at once, are left out.

    Raises ValueError if the entrant has no cell.
    """
    own = [cell for cell in cells if cell["entrant"] == entrant]
    if not own:
        raise ValueError(f"no cell of {entrant!r}")
    parts: dict[tuple[str, str], list[tuple[Mapping[str, Any], bool]]] = {}
    for cell in own:
        if "error" in cell or len(cell["concepts"]) != 1:
            continue
        for part, target in (("per_target", True), ("per_concept", False)):
            for label, shares in cell[part].items():
                parts.setdefault((cell["concepts"][0], label), []).append((shares, target))
    found = {pair: _damage(shares) for pair, shares in parts.items()}
    erased = tuple(dict.fromkeys(pair[0] for pair in found))
    return Matrix(erased, tuple(dict.fromkeys([*erased, *(pair[1] for pair in found)])), found)


def to_csv(cells: Sequence[Mapping[str, Any]]) -> str:
    """Every entrant's matrix as a long table."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["entrant", "erased", "concept", "base", "edited", "kept", "n", "is_target"])
    for entrant in dict.fromkeys(cell["entrant"] for cell in cells):
        for (erased, label), damage in matrix(cells, entrant).cells.items():
            kept = "" if damage.kept is None else damage.kept
            writer.writerow([entrant, erased, label, damage.base, damage.edited, kept, damage.n, int(damage.target)])
    return text.getvalue()


def _damage(parts: Sequence[tuple[Mapping[str, Any], bool]]) -> Damage:
    shares = [share for share, _ in parts]
    base, edited = (sum(share[key] for share in shares) / len(shares) for key in ("base", "edited"))
    return Damage(base, edited, sum(share["n"] for share in shares), parts[0][1])
