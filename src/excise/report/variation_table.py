"""A concept asked for otherwise (`excise vary`), in words and as a table, from its dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("asked by", "base", "edited", "neutral", "left, points")
NOTE = (
    "Per cent of pictures that show the concept, 95 % intervals in brackets. Neutral: the base model without the words, asked in the same "
    "way. Left: edited minus neutral."
)


def table(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row per condition."""
    return [
        (
            f"{row['group']}: {row['name']}",
            *(_share(row[who]) for who in ("base", "edited", "neutral")),
            f"{100 * _left(row):+.1f}",
        )
        for row in told["conditions"]
    ]


def lines(told: Mapping[str, Any]) -> list[str]:
    """What there is to say beside the table: the condition that leaves most of the concept."""
    worst = max(told["conditions"], key=_left)
    mean = sum(_left(row) for row in told["conditions"]) / len(told["conditions"])
    return [
        f"{told['concept']}, edited minus neutral: {100 * mean:+.1f} points in the mean of {len(told['conditions'])} ways to ask",
        f"most is left by {worst['group']} {worst['name']}: {100 * _left(worst):+.1f} points, {worst['n']} pictures",
    ]


def _left(row: Mapping[str, Any]) -> float:
    return float(row["edited"]["value"] - row["neutral"]["value"])


def _share(told: Mapping[str, Any]) -> str:
    low, high = told["ci"]
    return f"{100 * told['value']:.1f} ({100 * low:.1f}–{100 * high:.1f})"
