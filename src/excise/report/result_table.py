"""Measured numbers in words. A number that was not measured says so and is never 0."""

from __future__ import annotations

from collections.abc import Sequence

from excise.figures import Figure
from excise.results.evaluation import Evaluation, Figures

MEASURES: dict[str, str] = {
    "ua": "UA: prompted pictures that do not show it",
    "ira": "IRA: other concepts of its kind still shown",
    "cra": "CRA: concepts of other kinds still shown",
    "neutral": "neutral: shown without its words",
}
"""What is measured for an erasure, by its name in `results.evaluation.Figures`, in words."""

MEMBERS: dict[str, str] = {
    "nra": "NRA: other members of its object still shown",
    "ora": "ORA: other objects still shown",
}
"""The same, of members only."""

BYSTANDERS: dict[str, str] = {
    "bystanders": "bystanders: things that the method was not told of, still shown",
    "bystander_change": "change of their pictures; 0: none, 1: as unlike as pictures of different things",
}
"""What became of them, by name, where it was measured."""

QUALITY: dict[str, str] = {
    "fid_base": "FID of kept concepts, to the base model's pictures",
    "kid_base": "KID of kept concepts x 1000, to the base model's pictures",
    "pixel_change": "mean change of their pixels, per cent of the range",
    "lpips": "LPIPS to the base model's pictures",
    "fid_real": "FID of kept concepts, to real pictures",
    "kid_real": "KID of kept concepts x 1000, to real pictures",
    "clip_score": "CLIP score of kept concepts (cosine)",
}
"""How much the kept concepts' pictures have changed, by name."""

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


def figure(found: Figure | None, unit: float = 1.0) -> str:
    """A figure times a unit with three digits and its 95 % interval, if there is one.

    >>> figure(Figure(value=1.2345, low=1.0, high=1.5, n=9))
    '1.23 (1–1.5)'
    >>> figure(Figure(value=0.012, n=9), 1000)
    '12'
    """
    if found is None:
        return NOT_MEASURED
    ends = "" if found.interval is None else f" ({unit * found.interval[0]:.3g}–{unit * found.interval[1]:.3g})"
    return f"{unit * found.value:.3g}{ends}"


COLUMNS: tuple[str, ...] = ("measure", "base model", "edited model", "edited / base")


def table(found: Evaluation) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` per measure, in words; the ratio is the mean over concepts, each capped at 100 %, and of bystanders that of all."""
    members = any(target.concept.startswith("member:") for target in found.targets)
    ratios = {"ira": percent(found.ira_of_base), "cra": percent(found.cra_of_base)}
    shown = MEASURES | (MEMBERS if members else {})
    rows: list[tuple[str, ...]] = [
        (words, _cell(found.base, name), _cell(found, name), ratios.get(name, "")) for name, words in shown.items()
    ]
    if found.bystanders:
        of_base = percent(found.bystanders_of_base)
        rows.append((BYSTANDERS["bystanders"], _cell(found.base, "bystanders"), _cell(found, "bystanders"), of_base))
    if found.bystander_change:
        rows.append((BYSTANDERS["bystander_change"], "", figure(found.bystander_change), ""))
    return rows


def quality_table(found: Evaluation) -> list[tuple[str, ...]]:
    """A row (measure, base model, edited model) per figure of `QUALITY` that was measured."""
    rows: list[tuple[str, ...]] = []
    for name, words in QUALITY.items():
        before, after = getattr(found.base, name), getattr(found, name)
        if after is not None:
            unit = UNITS.get(name, 1.0)
            rows.append((words, figure(before, unit) if before else "", figure(after, unit)))
    return rows


QUICK = "measured quickly, so the intervals are wide; --evaluate full asks for as much as the tables have"
"""What is said beside the figures of a quick evaluation."""


def counts(found: Evaluation) -> str:
    """How many pictures there are of what: "target 200, retained 456, neutral 200"."""
    return ", ".join(f"{name} {count}" for name, count in found.pictures if count is not None)


def _cell(figures: Figures, name: str) -> str:
    found: Figure | None = getattr(figures, name)
    return percent(found.value, found.interval) if found else NOT_MEASURED
