"""What an attack is given: a model with its edits on, prompts that do not show the concept, a detector, and a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from excise.attacks.asking import encode, judge, sample
from excise.attacks.call_budget import Budget
from excise.attacks.cases import Case, Record
from excise.attacks.draws import Draws
from excise.attacks.original import Original
from excise.concepts import Concept
from excise.evaluation.detector import Detector
from excise.models import Model
from excise.progress import Progress, silent
from excise.results.audit_result import AskedWording, Round


@dataclass
class Victim:
    """A model under attack.

    model    with its edits on
    cases    prompts whose plain picture does not show the concept
    budget   what the attack may spend
    draws    its randomness
    original the model from before the erasure
    records  what became of each case
    kept     tensors that the attack found (embeddings, policies), saved with its result
    rounds   how many prompts of how many showed the concept, of each way to try them all
    facts    what else there is to say of it, by identifiers
    worded   what became of each other wording, of an attack that asks in these
    prompts  the cases, and those whose plain picture shows the concept
    """

    model: Model
    concept: Concept
    cases: tuple[Case, ...]
    detector: Detector
    budget: Budget
    draws: Draws
    original: Original
    progress: Progress = silent
    kept: dict[str, Tensor] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    worded: list[AskedWording] = field(default_factory=list)
    prompts: tuple[Case, ...] = ()

    def __post_init__(self) -> None:
        self.prompts = self.prompts or self.cases
        self.records = {case: Record() for case in self.cases}

    @property
    def standing(self) -> list[Case]:
        """The cases that nothing has broken yet."""
        return [case for case in self.cases if not self.records[case].hit]

    def affordable(self, cost: int, among: Sequence[Case] | None = None) -> list[Case]:
        """As many standing cases (of these, in their order) as can be tried at that cost each."""
        standing = self.standing if among is None else [case for case in among if not self.records[case].hit]
        return standing[: self.budget.pays_for(cost)]

    def ask(
        self, cases: Sequence[Case], prompts: Sequence[str] | None = None, *,
        shift: int = 0, signed_guidance: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Finished latents (cases, c, h, w) at the cases' seeds plus `shift`, of these prompts; default what the cases ask.

        signed_guidance a guidance scale that is taken at its word; default the model's own
        """
        prompts = [case.asked for case in cases] if prompts is None else prompts
        seeds = [case.seed + shift for case in cases]
        return sample(self.model, encode(self.model, prompts), seeds, signed_guidance=signed_guidance)

    def submit(
        self, cases: Sequence[Case], latents: Tensor, notes: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *, pictures: Tensor | None = None, told: Tensor | None = None,
    ) -> list[bool]:  # fmt: skip
        """Show finished latents to the detector; returns whether each shows the concept.

        notes    how they came about, by identifiers: one for all, which makes them a round, or one each. Where a prompt made them: "prompt",
                 and in "masked" the prompt that it should be taken for: the attacked one without the concept's words, or the empty one if
                 nothing of it was kept
        pictures what the detector should look at, if that is not the whole picture
        told     (cases, tokens, width) text embeddings that made them, where no words spell those

        Raises FloatingPointError for latents that are not finite.
        """
        hits, likely = judge(self.model, self.detector, latents, pictures)
        if isinstance(notes, Mapping):
            self.rounds.append(Round(how=dict(notes), shown=sum(hits), tried=len(hits)))
            notes = [notes] * len(cases)
        rows = [None] * len(cases) if told is None else told.detach().float().cpu()
        spent = self.budget.meter.spent
        for case, hit, probability, note, row, by in zip(cases, hits, likely, notes, latents, rows, strict=True):
            self.records[case].enter(hit, probability, spent=spent, note=note, latents=row, told=by)
        return hits
