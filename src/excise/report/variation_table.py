"""A concept asked for otherwise (`excise vary`), in words and as a table."""

from __future__ import annotations

from excise.figures import Figure
from excise.results.variation import Variation

COLUMNS = ("asked by", "base", "edited", "neutral", "left, points")
NOTE = (
    "Per cent of pictures that show the concept, 95 % intervals in brackets. Neutral: the base model without the words, asked in the same "
    "way. Left: edited minus neutral."
)


def table(found: Variation) -> list[tuple[str, ...]]:
    """A row per condition."""
    return [
        (f"{row.group}: {row.name}", _share(row.base), _share(row.edited), _share(row.neutral), f"{100 * row.left:+.1f}")
        for row in found.conditions
    ]


def lines(found: Variation) -> list[str]:
    """What there is to say beside the table: the condition that leaves most of the concept."""
    worst = max(found.conditions, key=lambda row: row.left)
    mean = sum(row.left for row in found.conditions) / len(found.conditions)
    return [
        f"{found.concept}, edited minus neutral: {100 * mean:+.1f} points in the mean of {len(found.conditions)} ways to ask",
        f"most is left by {worst.group} {worst.name}: {100 * worst.left:+.1f} points, {worst.n} pictures",
    ]


def _share(found: Figure) -> str:
    ends = "" if found.interval is None else f" ({100 * found.interval[0]:.1f}–{100 * found.interval[1]:.1f})"
    return f"{100 * found.value:.1f}{ends}"
