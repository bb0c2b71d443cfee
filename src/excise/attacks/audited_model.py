"""Who is attacked: the erased model and its controls, as edits of one network, and what each shows without any attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from excise.attacks.asking import encode, judge, sample
from excise.attacks.cases import Case, make_cases
from excise.concepts import Concept
from excise.edits import Edit, all_applied
from excise.evaluation.detector import Detector
from excise.finite import WEAKER
from excise.models import Model
from excise.results.audit_result import Control, Success

Who = Literal["erased", Control]
"""The erased model, or one of its controls."""


@dataclass(frozen=True)
class AuditedModel:
    """A model as edits of the one that is loaded.

    name    "erased", "neutral" (the base model, asked without the concept's words), or "gold" (one that never saw the concept)
    edits   what makes it that model
    neutral whether it is asked without the concept's words
    """

    name: Who
    edits: tuple[Edit, ...] = ()
    neutral: bool = False

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """The network is this model inside the block."""
        with all_applied(model, self.edits):
            yield


@dataclass(frozen=True)
class PlainPictures:
    """What a model shows without any attack.

    cases   the prompts that it was asked
    hits    whether the picture of each shows the concept
    latents of the pictures, (cases, c, h, w) float32 on the CPU
    """

    cases: tuple[Case, ...]
    hits: tuple[bool, ...]
    latents: Tensor

    @classmethod
    def of(
        cls, model: Model, audited: AuditedModel, concept: Concept, detector: Detector, count: int, seed: int
    ) -> PlainPictures:
        """Of `count` cases, with seeds counted up from `seed`.

        Raises FloatingPointError if the pictures are not finite, or all of one colour: a model that draws nothing is no evidence.
        """
        cases = make_cases(concept, count, seed, neutral=audited.neutral)
        with audited.on(model):
            latents = sample(model, encode(model, [case.asked for case in cases]), [case.seed for case in cases])
        pictures = torch.cat([model.decode(part) for part in latents.split(model.batch(32))])
        if (pictures.flatten(2).std(2) == 0).all():
            raise FloatingPointError(f"every picture of the {audited.name} model is of one colour: it draws nothing; {WEAKER}")
        hits, _ = judge(model, detector, latents, pictures)
        return cls(cases, tuple(hits), latents.float().cpu())

    @property
    def success(self) -> Success:
        """How often the model shows the concept."""
        return Success.of(sum(self.hits), 0, len(self.hits))

    @property
    def standing(self) -> tuple[Case, ...]:
        """The cases whose picture does not show the concept: those to attack."""
        return tuple(case for case, hit in zip(self.cases, self.hits, strict=True) if not hit)
