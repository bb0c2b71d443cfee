"""A measurement of residual information in words, from its dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

COLUMNS: tuple[str, ...] = (
    "concept", "nats, base", "nats left", "share left", "plain form", "whole prompt", "steering", "blind", "destroyed",
)  # fmt: skip
"""What the columns of `table` are called."""

BASE_COLUMNS: tuple[str, ...] = ("concept", "nats", "plain form", "steering, blind", "whole prompt")
"""The same where there is nothing to compare with."""

UNDEFINED = "undefined"

SMALL = 0.1
"""Steering, or share of nats, that a verdict calls small (ours)."""


def columns(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Column names that suit a measurement."""
    return COLUMNS if _compared(result) else BASE_COLUMNS


def table(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row per concept, measured ones first, then the others from the worst kept to the best."""
    others = sorted(result["others"], key=lambda reading: _share(reading["conditional"]))
    row = _row if _compared(result) else _base_row
    return [row(reading) for reading in [*result["concepts"], *others]]


def lines(result: Mapping[str, Any]) -> list[str]:
    """What there is to say beside the table."""
    found = []
    if result["collateral"] is not None:
        mean, worst = result["collateral"]["mean"], result["collateral"]["worst"]
        found.append(
            f"other concepts keep {_percent(mean)} of their nats on average; worst: {worst['concept']}, {_percent(worst)}"
        )
    found += [_verdict(reading) for reading in result["concepts"] if "edited" in reading["conditional"]]
    settings = result["settings"]
    sources = dict.fromkeys(reading["source"] for reading in result["concepts"])
    found.append(f"pictures: {', '.join(sources)}; {settings['evaluations']} network evaluations in {result['seconds']:.0f} s")
    if settings["self_made_pictures"]:
        found.append(
            "the measured model made the pictures itself: for one that was erased elsewhere give its base, or real pictures"
        )
    return found


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a measurement of an edit by name, of several concepts those of the one that most is left of; None: undefined."""
    reading = max(result["concepts"], key=lambda each: _share(each["conditional"], -math.inf))
    kept = result["collateral"]
    steering = {other["concept"]: _defined(other["conditional"]["steering_direct"]) for other in result["others"]}
    return {
        "nats": _left(reading["conditional"]),
        "whole_prompt": _left(reading["unconditional"]),
        "steering": _defined(reading["conditional"]["steering_direct"]),
        "destruction": reading["destruction"],
        "kept": kept and {"mean": kept["mean"], "worst": kept["worst"], "concepts": kept["kept"], "steering": steering},
        "settings": result["settings"],
        "seconds": result["seconds"],
    }


def readings(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By measured concept the curve by noise level and the maps, to three digits: what `figures.curves` and `figures.maps` draw."""
    return [{key: _rounded(reading[key]) for key in ("concept", "curve", "maps")} for reading in result["concepts"]]


def number(estimate: Mapping[str, Any] | str) -> str:
    """An estimate with its interval.

    >>> number({"value": 1.234, "low": 1.0, "high": 1.5, "n": 9})
    '1.23 (1.00–1.50)'
    >>> number("undefined")
    'undefined'
    """
    estimate = _defined(estimate) or UNDEFINED
    if isinstance(estimate, str):
        return estimate
    if estimate["low"] is None:
        return f"{estimate['value']:.2f}"
    return f"{estimate['value']:.2f} ({estimate['low']:.2f}–{estimate['high']:.2f})"


def _row(reading: Mapping[str, Any]) -> tuple[str, ...]:
    words = reading["conditional"]
    base, edited = words["base"], words["edited"]
    return (
        reading["concept"],
        number(base["orthogonal"]),
        number(edited["orthogonal"]) + (" at floor" if edited["at_floor"] else ""),
        _percent(words["share_left"]),
        f"{_short(base['plain'])} → {_short(edited['plain'])}",
        " → ".join(_short(reading["unconditional"][model]["orthogonal"]) for model in ("base", "edited")),
        number(words["steering_direct"]),
        _short(edited["steering_blind"]),
        _short(reading["destruction"]),
    )


def _base_row(reading: Mapping[str, Any]) -> tuple[str, ...]:
    base = reading["conditional"]["base"]
    whole = reading["unconditional"]["base"]["orthogonal"]
    return reading["concept"], number(base["orthogonal"]), number(base["plain"]), number(base["steering_blind"]), number(whole)


def _verdict(reading: Mapping[str, Any]) -> str:
    words, name = reading["conditional"], reading["concept"]
    if words["base"]["at_floor"]:
        return f"{name}: the base model knows nothing of it that could be measured"
    if words["edited"]["at_floor"]:
        return f"{name}: its words say nothing any more that could be measured"
    steering, left = _defined(words["steering_direct"]), _defined(words["share_left"])
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


def _percent(estimate: Mapping[str, Any] | str) -> str:
    estimate = _defined(estimate) or UNDEFINED
    if isinstance(estimate, str):
        return estimate
    ends = "" if estimate["low"] is None else f" ({100 * estimate['low']:.0f}–{100 * estimate['high']:.0f})"
    return f"{100 * estimate['value']:.0f} %{ends}"


def _ends(estimate: Mapping[str, Any]) -> tuple[float, float]:
    """The interval, or the value twice where a single picture gives none."""
    low, high, value = (estimate[key] for key in ("low", "high", "value"))
    return (value if low is None else low), (value if high is None else high)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _left(words: Mapping[str, Any]) -> dict[str, Any]:
    base, edited = words["base"], words["edited"]
    share = _defined(words["share_left"])
    return {"base": base["orthogonal"], "left": edited["orthogonal"], "share_left": share, "at_floor": edited["at_floor"]}


def _defined(estimate: Mapping[str, Any] | str) -> Mapping[str, Any] | None:
    """None for what says that it is undefined, and for a value that was not finite."""
    return None if isinstance(estimate, str) or estimate["value"] is None else estimate


def _short(estimate: Mapping[str, Any] | str) -> str:
    found = _defined(estimate)
    return UNDEFINED if found is None else f"{found['value']:.2f}"


def _share(words: Mapping[str, Any], undefined: float = math.inf) -> float:
    share = _defined(words.get("share_left", UNDEFINED))
    return undefined if share is None else float(share["value"])


def _compared(result: Mapping[str, Any]) -> bool:
    return all("edited" in reading["conditional"] for reading in result["concepts"])
