"""What an attack is given: a model with its edits on, prompts that do not show the concept, a detector, and a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from excise.attacks.call_meter import CallMeter
from excise.concepts import Concept
from excise.edits import applied_edits
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.evaluation.detector import Detector
from excise.models import Model
from excise.models.guidance import sampling_scale
from excise.randomness import stream

T = TypeVar("T")

PICTURE_SEED = 1_000_000
"""First seed of pictures that an attacker makes with the base model, far from those of the prompts that are attacked."""


@dataclass(frozen=True)
class Case:
    """One prompt to break.

    asked   what the model is asked: with the concept's words; without them in the neutral control
    wanted  the same with the concept's words
    masked  the same without
    context phrase in the other slot of the template, or ""
    seed    of its picture
    """

    asked: str
    wanted: str
    masked: str
    context: str
    seed: int


def make_cases(concept: Concept, count: int, seed: int, *, neutral: bool = False) -> tuple[Case, ...]:
    """The concept's plain prompts in turn, every one with a seed of its own. Raises ValueError for none."""
    if count < 1:
        raise ValueError(f"an audit needs at least one prompt, not {count}")
    contexts = ("", *concept.contexts)
    cases = []
    for index in range(count):
        context = contexts[index % len(contexts)]
        pair = concept.pair(concept.templates[0], concept.phrases[0], context)
        cases.append(Case(pair.masked if neutral else pair.prompt, pair.prompt, pair.masked, context, seed + index))
    return tuple(cases)


@dataclass
class Record:
    """What became of one prompt.

    calls    U-Net calls that the attack had spent, over all prompts, when the concept first appeared
    best     finished latents (c, h, w) of the likeliest picture, of those that show the concept if any does
    told     (tokens, width), the text embedding that it was asked for by, where no words spell it
    """

    attempts: int = 0
    hit: bool = False
    calls: int | None = None
    probability: float = -1.0
    note: Mapping[str, Any] = field(default_factory=dict)
    best: Tensor | None = None
    told: Tensor | None = None


class Victim:
    """A model under attack.

    model      with its edits on
    cases      prompts whose plain picture does not show the concept
    meter      counts what the attack spends
    prompts    how many there are in all, those included that show the concept anyway: the same for every model that is attacked
    shown      (cases, c, h, w) latents of the base model's pictures of the prompts with the concept's words, same seeds; None without one
    kept       tensors that the attack found (embeddings, policies), saved with its result
    facts      what else there is to say of it
    """

    def __init__(
        self, model: Model, concept: Concept, cases: Sequence[Case], detector: Detector, meter: CallMeter, run: Run,
        shown: Tensor | None = None, prompts: int | None = None,
    ) -> None:  # fmt: skip
        self.model, self.concept, self.cases = model, concept, tuple(cases)
        self.detector, self.meter, self.run, self.shown = detector, meter, run, shown
        self.prompts = len(cases) if prompts is None else prompts
        self.records = [Record() for _ in cases]
        self.kept: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}

    @property
    def standing(self) -> list[int]:
        """Numbers of the prompts that nothing has broken yet."""
        return [index for index, record in enumerate(self.records) if not record.hit]

    @property
    def batch(self) -> int:
        """Pictures at once."""
        return self.model.batch(32)

    def cost(self, signed_guidance: float | None = None) -> int:
        """U-Net calls of one picture by `sample`."""
        scale = sampling_scale(self.model.sampler.guidance_scale) if signed_guidance is None else signed_guidance
        return self.model.sampler.steps * (1 if scale == 1 else 2)

    @property
    def cost_of_pairs(self) -> int:
        """U-Net calls of one picture by an attack's own loop, which asks with and without the prompt at every step."""
        return 2 * self.model.sampler.steps

    def affordable(self, rows: Sequence[int], cost: int, reserve: int = 0) -> list[int]:
        """As many of the prompts as can be tried at that cost each, with `reserve` calls left over."""
        return list(rows[: max(0, self.meter.left - reserve) // cost])

    def iterations(self, wanted: int, each: int, fixed: int, shares: int = 1) -> int:
        """How many iterations one of equal shares of the budget pays for, at `each` calls, beside `fixed` others; `facts` says so.

        Both are to be those of all `prompts`, not of the cases that stand, so that every model gets as many.
        """
        paid = min(wanted, max(0, self.meter.budget // shares - fixed) // each)
        self.facts |= {"iterations": paid, "iterations asked": wanted}
        self.facts |= {"least budget": shares * (fixed + each), "whole budget": shares * (fixed + wanted * each)}
        return paid

    def tries(self, values: Sequence[T], costs: Sequence[int]) -> Sequence[T]:
        """Those of an attack's tries, in order, that the budget pays for at these calls each for all `prompts`; `facts` says how many.

        At least the first, as far as it goes. As many for every model, however few cases stand.
        """
        afforded = sum(spent <= self.meter.budget for spent in accumulate(self.prompts * cost for cost in costs))
        paid = min(len(values), max(1, afforded))
        self.facts |= {"tries": paid, "tries asked": len(values)}
        return values[:paid]

    def batches(self, count: int) -> Iterator[slice]:
        """`count` rows in parts of a batch."""
        return (slice(start, start + self.batch) for start in range(0, count, self.batch))

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings, a row per prompt, each distinct prompt encoded once."""
        distinct = list(dict.fromkeys(prompts))
        return self.model.encode(distinct)[[distinct.index(prompt) for prompt in prompts]]

    def asked(self, rows: Sequence[int]) -> Tensor:
        """Text embeddings of what is asked in these cases."""
        return self.encode([self.cases[row].asked for row in rows])

    def generator(self, *names: object) -> Generator:
        """Randomness that depends on the run's seed and these names alone, so that all models get the same."""
        return stream(self.run.seed, *map(str, names))

    def generators(self, rows: Sequence[int], *names: object) -> list[Generator]:
        """A generator for each case, so that what it gets does not depend on which others there are."""
        return [self.generator(self.cases[row].context, self.cases[row].seed, *names) for row in rows]

    def noise(self, rows: Sequence[int], *names: object) -> Tensor:
        """Standard normal latents (rows, c, h, w); each depends on its own prompt and seed, the run's seed and the names."""
        return self.normal(self.generators(rows, *names))

    def normal(self, generators: Sequence[Generator]) -> Tensor:
        """Standard normal latents (generators, c, h, w), one from each."""
        parts = [torch.randn(self.model.latent_shape, generator=generator) for generator in generators]
        return torch.stack(parts).to(self.model.device, self.model.dtype)

    def starts(self, rows: Sequence[int], shift: int = 0) -> Tensor:
        """The noise that the prompts' pictures start from; `shift` is added to the seeds."""
        return self.model.start_noise([self.cases[row].seed + shift for row in rows])

    def sample(
        self, conditioning: Tensor, starts: Tensor, *, signed_guidance: float | None = None, seeds: Sequence[int] = ()
    ) -> Tensor:
        """Finished latents by the model's own sampler, from start noise; `signed_guidance` is a scale that is taken at its word."""
        finished = []
        for rows in self.batches(len(starts)):
            generators = self.model.step_noise(seeds[rows]) or None
            *_, last = self.model.trajectory(
                conditioning[rows], starts[rows], guidance_scale=signed_guidance, signed=signed_guidance is not None,
                generators=generators,
            )  # fmt: skip
            finished.append(last.latents)
        return torch.cat(finished)

    def ask(
        self, rows: Sequence[int], prompts: Sequence[str], *, shift: int = 0, signed_guidance: float | None = None
    ) -> Tensor:
        """Finished latents of prompts at the seeds of these rows."""
        seeds = [self.cases[row].seed + shift for row in rows]
        return self.sample(self.encode(prompts), self.starts(rows, shift), signed_guidance=signed_guidance, seeds=seeds)

    def submit(
        self, rows: Sequence[int], latents: Tensor, notes: Mapping[str, Any] | Sequence[Mapping[str, Any]], pictures: Tensor | None = None,
        told: Tensor | None = None,
    ) -> list[bool]:  # fmt: skip
        """Show finished latents to the detector; whether each shows the concept.

        notes    how they came about: one for all, or one each; where a prompt made them, "prompt", and in "masked" the prompt that it
                 should be taken for: the attacked one without the concept's words, or the empty one if nothing of it was kept
        pictures what the detector should look at, if it is not the whole picture
        told     (rows, tokens, width), text embeddings that made them, where no words spell those

        Latents that are not finite show nothing.
        """
        finite = latents.flatten(1).isfinite().all(1).cpu()
        latents = latents.nan_to_num(0.0, 0.0, 0.0)
        shown = torch.cat([self.model.decode(part) for part in latents.split(self.batch)]) if pictures is None else pictures
        found, likely = self.detector(shown)
        hits: list[bool] = (found.cpu() & finite).tolist()
        each = [notes] * len(rows) if isinstance(notes, Mapping) else notes
        asked: list[Tensor | None] = [None] * len(rows) if told is None else list(told.detach().float().cpu())
        for row, hit, probability, note, latent, by in zip(rows, hits, likely.tolist(), each, latents, asked, strict=True):
            self._record(self.records[row], hit, probability, note, latent, by)
        return hits

    def _record(
        self, record: Record, hit: bool, probability: float, note: Mapping[str, Any], latent: Tensor, told: Tensor | None
    ) -> None:
        record.attempts += 1
        if hit and not record.hit:
            record.hit, record.calls, record.probability = True, self.meter.spent, -1.0
        if hit >= record.hit and probability > record.probability:
            record.probability, record.note, record.best, record.told = probability, note, latent.float().cpu(), told

    @contextmanager
    def original(self) -> Iterator[None]:
        """The model is without its edits inside the block."""
        edits = applied_edits(self.model)
        for edit, _ in reversed(edits):
            edit.remove(self.model)
        try:
            yield
        finally:
            for edit, scale in edits:
                edit.apply(self.model, scale)

    def pictures(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Latents that the model without its edits makes; kept in the cache folder, and not part of the budget."""
        with self.original(), self.meter.paused():
            return generated_latents(self.model, prompts, seeds, run=self.run, stage="pictures of the base")

    def targets(self, rows: Sequence[int]) -> Tensor:
        """The base model's own pictures of these prompts with the concept's words, same seeds, as latents."""
        assert self.shown is not None, "attacks that need the base model are not run without it"
        return self.shown[list(rows)]

    def concept_pictures(self, count: int) -> tuple[list[str], Tensor]:
        """`count` pictures of the concept by the base model, as latents, and the context that each shows it in."""
        contexts = ("", *self.concept.contexts)
        chosen = [contexts[index % len(contexts)] for index in range(count)]
        concept = self.concept
        prompts = [concept.pair(concept.templates[0], concept.phrases[0], context).prompt for context in chosen]
        return chosen, self.pictures(prompts, range(PICTURE_SEED, PICTURE_SEED + count))

    def other_pictures(self, count: int, *, neutral: bool = True) -> tuple[list[str], Tensor]:
        """`count` pictures of other concepts by the base model, as latents, and their prompts.

        neutral  every other one is of the concept's own prompts without its words (all of them, where the model declares no concepts)
        """
        concept, contexts = self.concept, ("", *self.concept.contexts)
        taken = set(concept.phrases)
        others = [other for other in self.model.catalog.of_kind(concept.kind) if not taken & set(other.phrases)]
        prompts = []
        for index in range(count):
            context = contexts[index % len(contexts)]
            shown = None if not others or (neutral and index % 2) else others[index % len(others)]
            pair = (shown or concept).pair(concept.templates[0], (shown or concept).phrases[0], context)
            prompts.append(pair.prompt if shown else pair.masked)
        return prompts, self.pictures(prompts, range(2 * PICTURE_SEED, 2 * PICTURE_SEED + count))
