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

MEMBERS: dict[str, str] = {
    "nra": "NRA: other members of its object still shown",
    "ora": "ORA: other objects still shown",
}
"""The same, of members only."""

QUALITY: dict[str, str] = {
    "fid_base": "FID of kept concepts, to the base model's pictures",
    "kid_base": "KID of kept concepts x 1000, to the base model's pictures",
    "pixel_change": "mean change of their pixels, per cent of the range",
    "lpips": "LPIPS to the base model's pictures",
    "fid_real": "FID of kept concepts, to real pictures",
    "kid_real": "KID of kept concepts x 1000, to real pictures",
    "clip_score": "CLIP score of kept concepts (cosine)",
}
"""How much the kept concepts' pictures have changed, by key."""

UNITS = {"kid_base": 1000.0, "kid_real": 1000.0, "pixel_change": 100.0}
"""What the figures of `QUALITY` are shown in, where that is not what is stored."""

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


def figure(value: float | None, interval: Sequence[float | None] | None = None) -> str:
    """A number with three digits and its 95 % interval, if there is one.

    >>> figure(1.2345, (1.0, 1.5))
    '1.23 (1–1.5)'
    >>> figure(12.0, (None, None))
    '12'
    """
    if value is None:
        return NOT_MEASURED
    if interval is None or None in interval:
        return f"{value:.3g}"
    low, high = interval
    return f"{value:.3g} ({low:.3g}–{high:.3g})"


COLUMNS: tuple[str, ...] = ("measure", "base model", "edited model", "edited / base")


def table(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` per measure, in words; the ratio is the mean over concepts, each capped at 100 %."""
    base = result.get("base") or {}
    shown = MEASURES | {key: words for key, words in MEMBERS.items() if key in result}
    ratios = {key: percent(result[name]) if (name := f"{key}_of_base") in result else "" for key in shown}
    return [(words, _cell(base, key), _cell(result, key), ratios[key]) for key, words in shown.items()]


def quality_table(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row (measure, base model, edited model) per figure of `QUALITY` that was measured."""
    rows: list[tuple[str, ...]] = []
    for key, words in QUALITY.items():
        if result.get(key) is not None:
            base = result.get("base") or {}
            before = _quality_cell(base, key) if base.get(key) is not None else ""
            rows.append((words, before, _quality_cell(result, key)))
    return rows


def counts(result: Mapping[str, Any]) -> str:
    """How many pictures there are of what: "target 200, retained 456, neutral 200"."""
    return ", ".join(f"{key} {count}" for key, count in (result.get("n") or {}).items() if key != "seeds_from") or NOT_MEASURED


def _cell(values: Mapping[str, Any], key: str) -> str:
    return percent(values.get(key), values.get(f"{key}_ci"))


def _quality_cell(values: Mapping[str, Any], key: str) -> str:
    unit = UNITS.get(key, 1.0)
    ends = values.get(f"{key}_ci")
    return figure(unit * values[key], [end if end is None else unit * end for end in ends] if ends else None)
