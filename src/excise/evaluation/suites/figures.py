"""Figures of a suite, and what it says of one answer set. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from excise.statistics import wilson


@dataclass(frozen=True)
class Figure:
    """A measured number.

    ci95  ends of its 95 % interval, or None where it has none
    n     pictures it rests on
    """

    value: float | None
    n: int
    ci95: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "n": self.n, "ci95": list(self.ci95) if self.ci95 else None}

    @classmethod
    def share(cls, hits: int, n: int) -> Figure:
        """A share with Wilson's interval; not measured for none."""
        return cls(hits / n, n, wilson(hits, n)) if n else cls(None, 0)


@dataclass(frozen=True)
class Score:
    """What a suite says of one answer set.

    figures    by name
    detail     what they are made of: per concept, per class
    about      detector, weights, variant: what else makes the numbers
    warnings   what keeps them from being compared with published ones
    """

    figures: Mapping[str, Figure]
    detail: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
