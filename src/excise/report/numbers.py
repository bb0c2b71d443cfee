"""Measured numbers in words. A number that was not measured says so and is never 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEASURES: dict[str, str] = {
    "ua": "UA: prompted pictures that do not show it",
    "ira": "IRA: other concepts of its kind still shown",
    "cra": "CRA: concepts of other kinds still shown",
    "neutral": "neutral: shown without its words",
}
"""What is measured for an erasure, by key of `result.json`, in words."""

NOT_MEASURED = "not measured"


def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A share 0–1 as per cent with its 95 % interval.

    >>> percent(0.975, (0.94, 0.99))
    '97.5 % (94.0–99.0)'
    >>> percent(None)
    'not measured'
    """
    if value is None:
        return NOT_MEASURED
    if interval is None:
        return f"{100 * value:.1f} %"
    low, high = interval
    return f"{100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


COLUMNS: tuple[str, ...] = ("measure", "base model", "edited model", "edited / base")


def table(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` per measure, in words; the ratio is the mean over concepts, each capped at 100 %."""
    base = result.get("base") or {}
    ratios = {key: percent(result[name]) if (name := f"{key}_of_base") in result else "" for key in MEASURES}
    return [(words, _cell(base, key), _cell(result, key), ratios[key]) for key, words in MEASURES.items()]


def counts(result: Mapping[str, Any]) -> str:
    """How many pictures each number rests on: "ua 200, ira 456"."""
    return ", ".join(f"{key.replace('_', ' ')} {count}" for key, count in (result.get("n") or {}).items()) or NOT_MEASURED


def _cell(values: Mapping[str, Any], key: str) -> str:
    return percent(values.get(key), values.get(f"{key}_ci"))
