"""Who is attacked: the erased model and its controls, one after the other in the same network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from excise.attacks import Chosen
from excise.attacks.call_meter import CallMeter
from excise.attacks.verdict import outcome
from excise.attacks.victim import Case, Victim, make_cases
from excise.concepts import Concept
from excise.digests import digest_tensors
from excise.edits import Edit, all_applied
from excise.erasure.run import Run
from excise.evaluation.detector import Detector
from excise.models import Model
from excise.models.fingerprint import named_tensors
from excise.progress import Progress, silent


@dataclass(frozen=True)
class AuditedModel:
    """A model as edits of the one that is loaded.

    name    "erased", "neutral" (the base model, asked without the concept's words), or "gold" (one that never saw the concept)
    edits   what makes it that model
    neutral whether it is asked without the concept's words
    """

    name: str
    edits: tuple[Edit, ...] = ()
    neutral: bool = False

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """The network is this model inside the block."""
        with all_applied(model, self.edits):
            yield


@dataclass(frozen=True)
class PlainPictures:
    """What a model shows without any attack: its prompts, which of their pictures show the concept, their latents."""

    cases: tuple[Case, ...]
    hits: tuple[bool, ...]
    latents: Tensor

    @classmethod
    def of(
        cls, model: Model, subject: AuditedModel, concept: Concept, detector: Detector, count: int, seed: int
    ) -> PlainPictures:
        cases = make_cases(concept, count, seed, neutral=subject.neutral)
        victim = Victim(model, concept, cases, detector, CallMeter(0), Run(seed))
        everything = range(len(cases))
        with subject.on(model):
            latents = victim.ask(everything, [case.asked for case in cases])
        return cls(cases, tuple(victim.submit(everything, latents, {})), latents.float().cpu())


@dataclass(frozen=True)
class Attacked:
    """What came of an attack on one model.

    result  as `outcome` describes it
    tensors what it found; "best" holds the latents of the best picture of every prompt (zeros: none tried), "told" the text
            embeddings that made them, if no words spell those
    """

    result: dict[str, Any]
    tensors: dict[str, Tensor]


def assault(
    chosen: Chosen, model: Model, subject: AuditedModel, concept: Concept, plain: PlainPictures, detector: Detector,
    *, shown: Tensor | None = None, seed: int = 0, progress: Progress = silent,
) -> Attacked:  # fmt: skip
    """Attack a model.

    shown  (prompts, c, h, w) latents of the base model's pictures of all prompts with the concept's words, where there is one

    Raises RuntimeError if the attack leaves a weight other than it was or goes over its budget."""
    stage = f"{chosen.text}, {subject.name}"
    meter = CallMeter(chosen.budget, lambda spent, budget: progress(stage, spent, budget))
    standing = [place for place, hit in enumerate(plain.hits) if not hit]
    victim = Victim(
        model, concept, [plain.cases[place] for place in standing], detector, meter, Run(seed, progress=progress),
        None if shown is None else shown[standing], len(plain.cases),
    )  # fmt: skip
    began = time.perf_counter()
    with subject.on(model):
        before = digest_tensors(named_tensors(model))
        with meter.on(model):
            if standing:
                chosen.attack.run(victim, chosen.settings)
        if digest_tensors(named_tensors(model)) != before:
            raise RuntimeError(f"the attack {chosen.attack.name} did not put the weights back as they were")
    progress(stage, chosen.budget, chosen.budget)
    result = outcome(chosen, plain.cases, plain.hits, victim.records, victim, time.perf_counter() - began)
    tensors = {name: tensor.detach().cpu() for name, tensor in victim.kept.items()}
    tensors["best"] = plain.latents.clone().zero_().half()
    for place, record in zip(standing, victim.records, strict=True):
        if record.best is not None:
            tensors["best"][place] = record.best
        if record.told is not None:
            tensors.setdefault("told", record.told.new_zeros(len(plain.cases), *record.told.shape))[place] = record.told
    return Attacked({**result, "weights": before}, tensors)


def best_rows(attacked: Attacked, count: int) -> list[int]:
    """The prompts whose attacked pictures are worth showing: broken ones first, the likeliest first."""
    rows = [index for index, case in enumerate(attacked.result["cases"]) if case.get("attempts")]
    cases = attacked.result["cases"]
    return sorted(rows, key=lambda row: (not cases[row]["success"], -cases[row]["probability"]))[:count]
