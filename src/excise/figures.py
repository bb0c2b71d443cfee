"""Frozen records of what was measured, and the figure: a number with its interval. No torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from excise.statistics import wilson


class ResultRecord(BaseModel):
    """Base of everything that a result file holds: frozen, unknown keys refused, no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Figure(ResultRecord):
    """A measured number.

    low, high ends of its 95 % interval; None where it has none
    n         pictures it rests on
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=0)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @classmethod
    def share(cls, hits: int, n: int) -> Figure | None:
        """A share with Wilson's interval; None for no pictures."""
        if not n:
            return None
        low, high = wilson(hits, n)
        return cls(value=hits / n, low=low, high=high, n=n)

    def __str__(self) -> str:
        ends = "" if self.interval is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:.3g}{ends}"


class NamedFigure(Figure):
    """A figure of one concept, by its label: "object:cat"."""

    concept: str
