"""One attack on one model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from excise.attacks import Chosen
from excise.attacks.audited_model import AuditedModel, PlainPictures
from excise.attacks.call_budget import Budget
from excise.attacks.call_meter import CallMeter
from excise.attacks.draws import Draws
from excise.attacks.original import Original
from excise.attacks.verdict import outcome
from excise.attacks.victim import Victim
from excise.concepts import Concept
from excise.digests import digest_tensors
from excise.erasure.run import Run
from excise.evaluation.detector import Detector
from excise.models import Model
from excise.models.fingerprint import named_tensors
from excise.progress import Progress, silent
from excise.results.audit_result import Outcome


class SpoiledModel(RuntimeError):
    """An attack left a weight other than it was: nothing that is made after it counts."""


@dataclass(frozen=True)
class Attacked:
    """What came of an attack on one model.

    tensors what it found; "best" holds the latents of the best picture of every prompt (zeros: none tried), "told" the text embeddings
            that made them, if no words spell those
    """

    outcome: Outcome
    tensors: dict[str, Tensor]

    def best(self, count: int) -> list[int]:
        """Numbers of the cases whose attacked pictures are worth showing: broken ones first, the likeliest first."""
        cases = self.outcome.cases
        rows = [index for index, case in enumerate(cases) if case.attempts]
        return sorted(rows, key=lambda row: (not cases[row].success, -(cases[row].probability or 0.0)))[:count]


def assault(
    chosen: Chosen, model: Model, audited: AuditedModel, concept: Concept, plain: PlainPictures, detector: Detector,
    *, shown: Tensor | None = None, seed: int = 0, progress: Progress = silent,
) -> Attacked:  # fmt: skip
    """Attack a model.

    shown (cases, c, h, w) latents of the base model's pictures of all cases with the concept's words, where there is a base model

    Raises SpoiledModel if the attack leaves a weight other than it was, RuntimeError if it goes over its budget.
    """
    stage = f"{chosen.text}, {audited.name}"
    meter = CallMeter(chosen.budget, lambda spent, budget: progress(stage, spent, budget))
    original = Original(
        model,
        concept,
        meter,
        Run(seed, progress=progress),
        dict(zip(plain.cases, () if shown is None else shown, strict=False)),
    )
    victim = Victim(
        model, concept, plain.standing, detector, Budget(meter, model, len(plain.cases)), Draws(model, seed), original,
        progress, prompts=plain.cases,
    )  # fmt: skip
    began = time.perf_counter()
    with audited.on(model), _unchanged(model, chosen.attack.name) as weights, meter.on(model):
        if victim.cases:
            chosen.attack.run(victim, chosen.settings)
    progress(stage, chosen.budget, chosen.budget)
    return Attacked(outcome(plain, victim, seconds=time.perf_counter() - began, weights=weights), _found(victim, plain))


@contextmanager
def _unchanged(model: Model, attack: str) -> Iterator[str]:
    """Gives the hash of the weights. Raises SpoiledModel if they have another one after the block, however it ends."""
    before = digest_tensors(named_tensors(model))
    try:
        yield before
    finally:
        if digest_tensors(named_tensors(model)) != before:
            raise SpoiledModel(f"the attack {attack} did not put the weights back as they were")


def _found(victim: Victim, plain: PlainPictures) -> dict[str, Tensor]:
    """What the attack kept, and the best picture of every case."""
    tensors = {name: tensor.detach().cpu() for name, tensor in victim.kept.items()}
    tensors["best"] = plain.latents.clone().zero_().half()
    for place, case in enumerate(plain.cases):
        record = victim.records.get(case)
        if record is not None and record.best is not None:
            tensors["best"][place] = record.best
        if record is not None and record.told is not None:
            tensors.setdefault("told", record.told.new_zeros(len(plain.cases), *record.told.shape))[place] = record.told
    return tensors
