"""An erasure in plain words: what became of the concept, how sure that is, what it cost, and what the method itself saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from excise.figures import Figure
from excise.report.result_table import figure, percent
from excise.results.erasure import ErasureResult
from excise.results.evaluation import Evaluation

NAMED = 4
"""Concepts that the sentence names; the others are counted (ours)."""

KINDS = {"object": ("other objects", "styles"), "style": ("other styles", "objects")}
"""What else there is of an erased concept's kind and of the other kind, in plain words."""

NO_PROMISE = (
    "This is what was measured, and no promise: other wordings, further training or somebody who looks for it may bring back what was "
    "removed."
)
"""What is said beside the sentence."""


def summary(concepts: Sequence[str], model: str, result: ErasureResult | None) -> str:
    """All of it in one sentence; `concepts` are labels such as "object:cat"."""
    parts = [f"{_named(concepts)} {'was' if len(concepts) == 1 else 'were'} to be removed from {model}"]
    if result and result.evaluation:
        parts[0] += f": {_became(result.evaluation, len(concepts) == 1)}"
        parts += _others(result.evaluation, concepts)
    else:
        parts.append(f"how much is left was not measured ({(result and result.note) or 'the folder holds no numbers'})")
    if result and (spent := cost(result)):
        parts.append(f"making the edit took {spent}")
    if result and result.evaluation:
        parts.append(_judged(result.evaluation, result.extent == "quick"))
    return f"{'; '.join(parts)}."


def cost(result: ErasureResult) -> str:
    """Time, memory and size, as far as they are known: "12.5 s, 900 MiB of memory and 2.06 MiB on disk"."""
    spent = ((result.seconds, "{:.1f} s"), (result.peak_mb, "{:.0f} MiB of memory"), (_size(result), "{:.2f} MiB on disk"))
    return _listed([form.format(value) for value, form in spent if value is not None])


def learned(told: Mapping[str, object]) -> list[str]:
    """What a method that learns saw on pictures that it did not learn from, and why it stopped; nothing where it does not tell.

    >>> learned({"left": 0.012, "left_low": 0.008, "left_high": 0.019, "left_pictures": 8, "ended": "all 2 rounds were learned"})[1]
    'Learning ended because all 2 rounds were learned.'
    """
    lines = []
    share, low, high, pictures = (_number(told.get(name)) for name in ("left", "left_low", "left_high", "left_pictures"))
    if share is not None:
        ends = None if low is None or high is None else (low, high)
        of = f"{pictures:.0f} pictures that it did not learn from" if pictures else "pictures that it did not learn from"
        lines.append(
            f"When learning ended, {percent(share, ends)} was left of what its words did to the model's answers, on {of}: the method's own "
            "measure, and no independent test."
        )
    if isinstance(ended := told.get("ended"), str) and ended:
        lines.append(f"Learning ended because {ended}.")
    return lines


def without_words(found: Evaluation) -> str:
    """How often the concept is there without being asked for; "" if that was not measured."""
    if found.neutral is None:
        return ""
    shown = percent(found.neutral.value, found.neutral.interval)
    return (
        f"Without its words in the prompt the base model shows it in {shown} of pictures. An erasure that leaves nothing of it comes down to "
        "that share, and need not go below it."
    )


def bystanders(found: Evaluation) -> str:
    """What became of things that nobody named to the method; "" if that was not measured."""
    if found.bystanders is None or found.base.bystanders is None or not found.each_bystander:
        return ""
    names = [each.concept.partition(":")[2] for each in found.each_bystander]
    shown = _shares("", found.bystanders, found.base.bystanders).strip()
    said = f"Bystanders, things that the method was not told of ({len(names)} in all, such as {_listed(names[:2])}), are recognised {shown}"
    if (moved := found.bystander_change) is not None:
        said += f"; those pictures changed by {figure(moved)}, where 0 is not at all and 1 is as much as pictures of different things differ"
    return f"{said}."


def _became(found: Evaluation, one: bool) -> str:
    """The erased concepts' pictures, before and after."""
    ends = found.ua.interval and (1 - found.ua.interval[1], 1 - found.ua.interval[0])
    asked, shown = ("it", "it") if one else ("one of them", "it")
    after, before = percent(found.erased, ends), percent(found.base.erased)
    return f"asked for {asked}, the model now shows {shown} in {after} of pictures instead of {before}"


def _others(found: Evaluation, concepts: Sequence[str]) -> list[str]:
    """The kept concepts' pictures, before and after."""
    kinds = {label.partition(":")[0] for label in concepts}
    alike = f"other things of {'its' if len(concepts) == 1 else 'their'} kind"
    own, rest = KINDS.get("".join(kinds), (alike, "things of the other kind"))
    kept = [(own, found.ira, found.base.ira), (rest, found.cra, found.base.cra)]
    said = [_shares(what, after, before) for what, after, before in kept if after]
    return [f"still recognised are {' and '.join(said)}"] if said else []


def _shares(what: str, after: Figure, before: Figure | None) -> str:
    shown = f"{what} in {percent(after.value, after.interval)} of their pictures"
    return f"{shown} instead of {percent(before.value)}" if before else shown


def _judged(found: Evaluation, quick: bool) -> str:
    """What the numbers rest on, and what the brackets are."""
    count = found.pictures.target + found.pictures.retained
    if quick:
        return f"a classifier judged it quickly, on only {count} pictures of each model, so the 95 % intervals in brackets are wide"
    return f"a classifier judged it on {count} pictures of each model, with 95 % intervals in brackets"


def _named(concepts: Sequence[str]) -> str:
    """Labels as they are said: 'the style "sketch"'; of many only the first."""
    said = [_called(label) for label in concepts[:NAMED]] or ["The concept"]
    if len(concepts) > NAMED:
        said.append(f"{len(concepts) - NAMED} more")
    named = _listed(said)
    return named[:1].upper() + named[1:]


def _called(label: str) -> str:
    kind, _, name = label.partition(":")
    return f"the style “{name}”" if kind == "style" else f"“{name or label}”"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _size(result: ErasureResult) -> float | None:
    """MiB, where the method tells the bytes."""
    told = _number(result.told.get("bytes"))
    return None if told is None else told / 2**20


def _number(value: object) -> float | None:
    """What the method tells is checked nowhere else: it may come from a stranger's file."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits else None  # type: ignore[arg-type]
