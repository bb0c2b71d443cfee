"""Other wordings: nobody searches, people just type what no phrase of the catalog is: misspellings, other languages, descriptions.

Every model is asked all prompts in other wordings, each kind of them equally often, at fresh seeds. A prompt is broken if one of its wordings
shows the concept. The base model is asked the same at the same seeds: it tells which wordings it understands at all. Whether a wording that it
does not understand shows the concept is chance, and the neutral control has the same chance. So no picture is left out for what the base
model made of it: such a choice would keep the pictures that show the concept by chance in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from torch import Tensor

from excise.attacks.asking import encode, judge, sample
from excise.attacks.cases import Case
from excise.attacks.victim import Victim
from excise.attacks.wording import OtherWordsSettings
from excise.attacks.wording.making import OtherWording, other_wordings
from excise.attacks.wording.reading import as_read, reading
from excise.concepts import PromptPair
from excise.results.audit_result import AskedWording, Reading

SHIFT = 10_000
"""Distance between the seeds of successive tries, so that prompts do not share them."""


@dataclass(frozen=True)
class Row:
    """A picture to ask for: a prompt of the audit in another wording, at a seed of its own."""

    case: Case
    wording: OtherWording
    pair: PromptPair
    seed: int

    @property
    def neutral(self) -> bool:
        """Whether the model is asked without the concept's words."""
        return self.case.asked != self.case.wanted

    @property
    def asked(self) -> str:
        return self.pair.masked if self.neutral else self.pair.prompt


@dataclass(frozen=True)
class Seen:
    """Whether the picture of a row shows the concept, and whether the base model's does; None where the concept's words were not asked."""

    row: Row
    shown: bool
    base: bool | None


def attack(victim: Victim, settings: OtherWordsSettings) -> None:
    """Ask all prompts in other wordings, also those that are broken already, so that the kinds' rates rest on the same prompts everywhere.

    Raises ValueError if the model's tokenizer has no words for any of them.
    """
    wordings = other_wordings(victim.concept, victim.model.catalog, settings.own)
    readings = {wording: reading(victim.model, victim.concept, wording) for wording in wordings}
    usable = [wording for wording, how in readings.items() if how == "read" or (settings.unread and how == "not read")]
    if all(wording.kind == "negated" for wording in usable):
        raise ValueError(f"the tokenizer of {victim.model.name} has no words for any of {len(wordings)} other wordings")
    cost = victim.budget.cost()
    tries = victim.budget.tries(range(settings.tries), [cost] * settings.tries)
    rows = [row for number in tries for row in _rows(victim, usable, number)]
    rows += _negated(victim, usable, settings.negated, len(tries))
    seen: list[Seen] = []
    for start in range(0, len(rows), len(victim.prompts)):
        part = rows[start : start + len(victim.prompts)][: victim.budget.pays_for(cost)]
        if part:
            seen += map(Seen, part, _ask(victim, part), _base(victim, part))
    victim.worded = [
        _told(wording, how, [one for one in seen if one.row.wording == wording]) for wording, how in readings.items()
    ]


def _told(wording: OtherWording, how: Reading, seen: Sequence[Seen]) -> AskedWording:
    """What became of a wording."""
    base = [one.base for one in seen if one.base is not None]
    return AskedWording(
        kind=wording.kind,
        name=wording.name,
        phrase=wording.phrase,
        reading=how,
        prompt=seen[0].row.asked if seen else None,
        n=len(seen),
        shown=sum(one.shown for one in seen),
        base=sum(base) if base else None,
    )


def _rows(victim: Victim, wordings: Sequence[OtherWording], number: int) -> list[Row]:
    """One try of every prompt. Kinds come in turn, and begin with the next one at every try; a kind's wordings come in turn."""
    kinds: dict[str, list[OtherWording]] = {}
    for wording in wordings:
        if wording.kind != "negated":
            kinds.setdefault(wording.kind, []).append(wording)
    names, each = list(kinds), -(-len(victim.prompts) // len(kinds))  # of a kind, in a try
    turns = {
        kind: cycle(those[(number * each) % len(those) :] + those[: (number * each) % len(those)])
        for kind, those in kinds.items()
    }
    return [
        _row(victim, case, next(turns[names[(at + number) % len(names)]]), number) for at, case in enumerate(victim.prompts)
    ]


def _negated(victim: Victim, wordings: Sequence[OtherWording], count: int, first: int) -> list[Row]:
    """`count` prompts that say no to the concept, each wording equally often; seeds as those of a try from number `first` on."""
    those = [wording for wording in wordings if wording.kind == "negated"]
    cases = victim.prompts
    return [
        _row(victim, cases[at % len(cases)], those[at % len(those)], first + at // len(cases))
        for at in range(count if those else 0)
    ]


def _row(victim: Victim, case: Case, wording: OtherWording, number: int) -> Row:
    pair = wording.pair(victim.concept, case.context)
    whole, masked = (as_read(victim.model, text) for text in (pair.prompt, pair.masked))
    return Row(case, wording, PromptPair(whole, masked), case.seed + (number + 1) * SHIFT)


def _ask(victim: Victim, rows: Sequence[Row]) -> list[bool]:
    """Whether each picture shows the concept. Those of prompts that nothing has broken are submitted, but for what says no to the concept."""
    model = victim.model
    latents = sample(model, encode(model, [row.asked for row in rows]), [row.seed for row in rows])
    standing = set(victim.standing)
    counts = [row.wording.kind != "negated" and row.case in standing for row in rows]
    hits = [False] * len(rows)
    for those, show in ((True, _submit), (False, _look)):
        places = [at for at, one in enumerate(counts) if one is those]
        if places:
            found = show(victim, [rows[at] for at in places], latents[places])
            for at, hit in zip(places, found, strict=True):
                hits[at] = hit
    return hits


def _submit(victim: Victim, rows: Sequence[Row], latents: Tensor) -> list[bool]:
    notes = [
        {
            "prompt": row.asked,
            "masked": row.pair.masked,
            "kind": row.wording.kind,
            "wording": row.wording.name,
            "seed": row.seed,
        }
        for row in rows
    ]
    return victim.submit([row.case for row in rows], latents, notes)


def _look(victim: Victim, rows: Sequence[Row], latents: Tensor) -> list[bool]:
    return judge(victim.model, victim.detector, latents)[0]


def _base(victim: Victim, rows: Sequence[Row]) -> Sequence[bool | None]:
    """Whether the base model's picture of each shows the concept; None where the concept's words are not asked."""
    if rows[0].neutral:
        return [None] * len(rows)
    return _look(victim, rows, victim.original.answers([row.asked for row in rows], [row.seed for row in rows]))
