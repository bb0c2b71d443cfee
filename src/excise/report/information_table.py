"""A measurement of residual information in words."""

from __future__ import annotations

import math

from excise.figures import Figure
from excise.results.information import ConceptReading, Measurement, Reading

COLUMNS: tuple[str, ...] = (
    "concept", "nats, base", "nats left", "share left", "plain form", "whole prompt", "steering", "blind", "destroyed",
)  # fmt: skip
"""What the columns of `table` are called."""

BASE_COLUMNS: tuple[str, ...] = ("concept", "nats", "plain form", "steering, blind", "whole prompt")
"""The same where there is nothing to compare with."""

UNDEFINED = "undefined"

SMALL = 0.1
"""Steering, or share of nats, that a verdict calls small (ours)."""


def columns(measured: Measurement) -> tuple[str, ...]:
    """Column names that suit a measurement."""
    return COLUMNS if measured.compared else BASE_COLUMNS


def table(measured: Measurement) -> list[tuple[str, ...]]:
    """A row per concept, measured ones first, then the others from the worst kept to the best."""
    others = sorted(measured.others, key=lambda reading: _share(reading.conditional))
    row = _row if measured.compared else _base_row
    return [row(reading) for reading in [*measured.concepts, *others]]


def lines(measured: Measurement) -> list[str]:
    """What there is to say beside the table."""
    found = []
    if measured.collateral is not None:
        mean, worst = measured.collateral.mean, measured.collateral.worst
        least = f"{worst.concept}, {_percent(worst)}" if worst else UNDEFINED
        found.append(f"other concepts keep {_percent(mean)} of their nats on average; worst: {least}")
    found += [_verdict(reading) for reading in measured.concepts if reading.conditional.edited is not None]
    settings = measured.settings
    sources = dict.fromkeys(reading.source for reading in measured.concepts)
    found.append(f"pictures: {', '.join(sources)}; {settings.evaluations} network evaluations in {measured.seconds:.0f} s")
    if settings.self_made_pictures:
        found.append(
            "the measured model made the pictures itself: for one that was erased elsewhere give its base, or real pictures"
        )
    return found


def number(figure: Figure | None) -> str:
    """A figure with its interval.

    >>> number(Figure(value=1.234, low=1.0, high=1.5, n=9))
    '1.23 (1.00–1.50)'
    >>> number(None)
    'undefined'
    """
    if figure is None:
        return UNDEFINED
    ends = "" if figure.interval is None else f" ({figure.low:.2f}–{figure.high:.2f})"
    return f"{figure.value:.2f}{ends}"


def _row(reading: ConceptReading) -> tuple[str, ...]:
    words, whole = reading.conditional, reading.unconditional
    assert words.edited is not None and whole.edited is not None
    return (
        reading.concept,
        number(words.base.orthogonal),
        number(words.edited.orthogonal) + (" at floor" if words.edited.at_floor else ""),
        _percent(words.share_left),
        f"{_short(words.base.plain)} → {_short(words.edited.plain)}",
        f"{_short(whole.base.orthogonal)} → {_short(whole.edited.orthogonal)}",
        number(words.steering),
        _short(words.edited.steering),
        _short(reading.destruction),
    )


def _base_row(reading: ConceptReading) -> tuple[str, ...]:
    base, whole = reading.conditional.base, reading.unconditional.base
    return reading.concept, number(base.orthogonal), number(base.plain), number(base.steering), number(whole.orthogonal)


def _verdict(reading: ConceptReading) -> str:
    words, name = reading.conditional, reading.concept
    if words.base.at_floor:
        return f"{name}: the base model knows nothing of it that could be measured"
    if words.edited is not None and words.edited.at_floor:
        return f"{name}: its words say nothing any more that could be measured"
    steering, left = words.steering, words.share_left
    if steering is None or left is None:
        return f"{name}: steering undefined"
    (low, high), (_, most) = _ends(steering), _ends(left)
    if high < -SMALL:
        return f"{name}: the model steers away from it, so its words still carry it, with the sign reversed"
    if low > SMALL:
        return f"{name}: its words still steer towards it, {_percent(steering)} as strongly"
    if most < SMALL:
        return f"{name}: all but {_percent(left)} of what its words said is gone"
    return f"{name}: its words say something, but hardly what they said"


def _percent(figure: Figure | None) -> str:
    if figure is None:
        return UNDEFINED
    ends = "" if figure.interval is None else f" ({100 * figure.interval[0]:.0f}–{100 * figure.interval[1]:.0f})"
    return f"{100 * figure.value:.0f} %{ends}"


def _ends(figure: Figure) -> tuple[float, float]:
    """The interval, or the value twice where a single picture gives none."""
    return figure.interval or (figure.value, figure.value)


def _short(figure: Figure | None) -> str:
    return UNDEFINED if figure is None else f"{figure.value:.2f}"


def _share(words: Reading) -> float:
    return math.inf if words.share_left is None else words.share_left.value
