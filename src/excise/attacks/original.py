"""The model from before the erasure, in an attacker's hands: its pictures of the concept and of other things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.attacks.call_meter import CallMeter
from excise.attacks.cases import Case
from excise.concepts import Concept
from excise.edits.applied import all_removed
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.models import Model

FIRST_SEED, FIRST_OTHER_SEED = 1_000_000, 2_000_000
"""First seeds of its pictures of the concept and of others, far from those of the cases."""


@dataclass(frozen=True)
class Original:
    """The attacked model without its edits. What it makes beforehand is not part of the budget.

    meter paused meanwhile
    shown (c, h, w) latents of its picture of a case with the concept's words, same seed; none where no base model is at hand
    """

    model: Model
    concept: Concept
    meter: CallMeter
    run: Run
    shown: Mapping[Case, Tensor]

    @contextmanager
    def acting(self) -> Iterator[None]:
        """The network is the original model inside the block; its calls count."""
        with all_removed(self.model):
            yield

    def targets(self, cases: Sequence[Case]) -> Tensor:
        """Its pictures of these cases with the concept's words, same seeds, as latents (cases, c, h, w)."""
        return torch.stack([self.shown[case] for case in cases])

    def concept_pictures(self, count: int) -> tuple[list[str], Tensor]:
        """`count` of its pictures of the concept, as latents (count, c, h, w), and the context that each shows it in."""
        contexts, pairs = ("", *self.concept.contexts), self.concept.plain_pairs()
        chosen = [index % len(pairs) for index in range(count)]
        latents = self._pictures([pairs[index].prompt for index in chosen], FIRST_SEED)
        return [contexts[index] for index in chosen], latents

    def other_pictures(self, count: int, *, neutral: bool = True) -> tuple[list[str], Tensor]:
        """`count` of its pictures of other concepts, and their prompts.

        neutral every other one is of the concept's own prompts without its words (all are, where the model declares no other concepts)
        """
        taken = set(self.concept.phrases)
        others = [other for other in self.model.catalog.of_kind(self.concept.kind) if not taken & set(other.phrases)]
        contexts = ("", *self.concept.contexts)
        prompts = []
        for index in range(count):
            context = contexts[index % len(contexts)]
            shown = self.concept if not others or (neutral and index % 2) else others[index % len(others)]
            pair = shown.pair(self.concept.templates[0], shown.phrases[0], context)
            prompts.append(pair.masked if shown is self.concept else pair.prompt)
        return prompts, self._pictures(prompts, FIRST_OTHER_SEED)

    def _pictures(self, prompts: Sequence[str], first: int) -> Tensor:
        return self.answers(prompts, range(first, first + len(prompts)))

    def answers(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Its pictures of any prompts, one seed each, as latents (prompts, c, h, w). Kept in the cache folder."""
        with self.acting(), self.meter.paused():
            return generated_latents(self.model, prompts, seeds, run=self.run, stage="pictures of the base")
