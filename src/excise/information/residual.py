"""`measure`: how much of a concept is left in a model, in nats, and what the others lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod
from typing import get_args

import torch
from torch import Tensor

from excise.arguments import SEEDS, check_number, check_whole
from excise.concepts import Concept, Phrasings, apart
from excise.edits import Edit, all_applied
from excise.edits.base_shelf import base_shelf
from excise.figures import Figure
from excise.files import NOWHERE, Shelf
from excise.hints import nearest
from excise.information.budget import BUDGET, NODES, PILOT_NODES, Tally, make_plan
from excise.information.integrals import Integrals, Subject, ask, contrast, integrals, join, prompts_of
from excise.information.picture_sets import PictureSet, make_pictures, texts_of, wordings_of
from excise.information.quadrature import Law, fit_law, stratified_uniforms
from excise.information.summaries import collateral, curve_of, summarise
from excise.models import Model
from excise.models.context import check_read, tell_cut
from excise.models.guidance import sampling_scale
from excise.progress import Progress
from excise.randomness import stream
from excise.results.information import ConceptReading, Maps, Measurement, MeasurementSettings, NoiseLaw, Rows

CHUNK = 16
"""Pictures between switching the edits on and off."""

EXAMPLES = 4
"""Pictures that are kept for the figure."""

SMALL = 2**12
"""Numbers of a latent up to which predictions are kept (ours): the built-in models'. They take some 5 MB for each concept that is measured."""

DECIMALS = 6
"""Of the maps."""


@dataclass(frozen=True)
class Example:
    """A picture (3, size, size) in 0–1 with its prompt and its maps {"base" or "edited": (h, w) nats}."""

    prompt: str
    picture: Tensor
    maps: dict[str, Tensor]


def measure(
    model: Model,
    concepts: str | Concept | Sequence[str | Concept],
    *,
    edit: Edit | Sequence[Edit] | None = None,
    base: Model | None = None,
    against: Sequence[str | Concept] = (),
    pictures: Mapping[str, PictureSet] | None = None,
    budget: int = BUDGET,
    seed: int = 0,
    guidance_scale: float = 1.0,
    phrasings: Phrasings = "plain",
    batch: int | None = None,
    keep: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Measurement:
    """Measure the mutual information between concepts' words and pictures, in nats per picture.

    model          the model as it is (edits that are already on it stay on)
    concepts       what to measure
    edit           edits to compare it with, all of them on at once
    base           for an erased model that came without an edit: the model that it was made from; `model` is then the edited one
    against        other concepts, whose collateral loss is measured
    pictures       concept label -> pictures with prompts; the base model makes those that are not given. Without edit, base and pictures
                   the measured model makes them itself, which says little about what it no longer draws
    budget         network evaluations; four times as many halve the intervals
    seed           of pictures, noise levels, noise and resampling
    guidance_scale of the pictures that are made, 1 or less = off; predictions are never guided
    phrasings      "plain" prompts, or "all" templates, synonyms and members
    batch          network evaluations at a time; default at most 64
    keep           keep pictures and predictions of a base without edits in the cache folder, and take them from there the next time; for a
                   model that computes as `load` gave it, and of latents of at most `SMALL` numbers: those of larger ones would fill a disk
    progress       called as progress("measuring", evaluations done, total)

    Base and edited model see the same pictures, noise levels and noise. No prompt names one of `concepts` beside what it is about.
    Raises ValueError for an unknown concept, one that is longer than the model reads, a budget that is too small, an edit of another base,
    or a base whose latents or schedule are not the model's; FloatingPointError for predictions that are not finite.
    """
    check_whole("seed", seed, 0, SEEDS)
    check_whole("budget", budget, 0)
    check_number("guidance_scale", guidance_scale)
    if batch is not None:
        check_whole("batch", batch, 1)
    if phrasings not in get_args(Phrasings):
        raise ValueError(f"unknown phrasings {phrasings!r}; {nearest(str(phrasings), get_args(Phrasings))}")
    started, batch = time.perf_counter(), batch or model.batch(64)
    targets = _resolve(model, [concepts] if isinstance(concepts, str | Concept) else concepts)
    labels = {concept.label for concept in targets}
    erased = {phrase for concept in targets for phrase in concept.phrases}
    check_read(model, targets)
    targets = apart(targets)
    others = [concept.beside(erased) for concept in _resolve(model, against) if concept.label not in labels]
    edits = () if edit is None else tuple(edit) if isinstance(edit, Sequence) else (edit,)
    before, after = _subjects(model, edits, base)
    given = pictures or {}
    making = before.model.sampler.steps * (1 if sampling_scale(guidance_scale) == 1 else 2)
    known = {label: len(given[label]) for label in given}
    plan = make_plan(budget, targets, others, models=1 if after is None else 2, making=making, given=known)
    meter = Tally(progress, plan.total)
    wordings = {
        c.label: given[c.label].wordings if c.label in given else wordings_of(c, phrasings) for c in (*targets, *others)
    }
    tell_cut(model, texts_of(wording for each in wordings.values() for wording in each))

    missing = [(concept, plan.counts[concept.label]) for concept in (*targets, *others) if concept.label not in given]
    made = make_pictures(
        before.model, missing, seed=seed, guidance_scale=guidance_scale, phrasings=phrasings, batch=batch, tick=meter.tick,
        shelf=_shelf(before.model, keep),
    )  # fmt: skip
    shown = {pictures.concept.label: pictures for pictures in made}
    shown |= {label: pictures.part(slice(plan.counts[label])) for label, pictures in given.items() if label in plan.counts}
    sets, beside = ([shown[concept.label] for concept in those] for those in (targets, others))
    with (
        before.model.unrounded(),
        (after or before).model.unrounded(),
    ):  # rounding would add to the small difference that is left, and hide part of the small one that a style makes
        kept = replace(before, shelf=_shelf(before.model, keep))
        reader = _Reader(kept, after, Law.flat(_levels(before.model)), seed, batch, meter.tick)
        reader = reader.focused([pictures.part(slice(plan.pilot)) for pictures in sets])
        readings = [reader.read(pictures, floor=True)[0] for pictures in sets]
        rest = [reader.read(pictures, floor=False) for pictures in beside]
    return Measurement(
        model=model.name,
        edits=tuple(" ".join([e.manifest.method, *e.manifest.names]) for e in edits),
        concepts=tuple(readings),
        others=tuple(reading.model_copy(update={"maps": None}) for reading, _ in rest),
        collateral=collateral({reading.concept: share for reading, share in rest if share is not None}),
        settings=MeasurementSettings(
            seed=seed,
            budget=budget,
            evaluations=meter.done,
            noise_levels=NODES,
            log_snr_range=reader.law.range,
            log_snr_law=NoiseLaw(loc=reader.law.loc, scale=reader.law.scale),
            latent_dimensions=sets[0].latents[0].numel(),
            guidance_scale=guidance_scale,
            sampler_steps=before.model.sampler.steps,
            phrasings=phrasings,
            precision=str(before.model.dtype).removeprefix("torch."),
            base=None if after is None else before.model.name,
            self_made_pictures=after is None and not labels <= given.keys(),
        ),
        seconds=round(time.perf_counter() - started, 2),
    )


def _resolve(model: Model, concepts: Sequence[str | Concept]) -> list[Concept]:
    found = [model.catalog.resolve(concept) if isinstance(concept, str) else concept for concept in concepts]
    return list({concept.label: concept for concept in found}.values())


def _subjects(model: Model, edits: Sequence[Edit], base: Model | None) -> tuple[Subject, Subject | None]:
    """The base, and the edited model if there is one."""
    if base is None:
        return Subject(model, nullcontext), Subject(model, lambda: all_applied(model, edits)) if edits else None
    if base.latent_shape != model.latent_shape:
        raise ValueError(
            f"the base's latents are {base.latent_shape}, the model's {model.latent_shape}: not the same kind of model"
        )
    if not base.path.same_as(model.path):
        raise ValueError("the base and the model have different noise paths; they cannot be asked about the same states")
    return Subject(base, nullcontext), Subject(model, lambda: all_applied(model, edits))


def _shelf(model: Model, keep: bool) -> Shelf:
    """Where the answers of a base are kept that it gives in the precision that is on."""
    return base_shelf(model, "nats") if keep and prod(model.latent_shape) <= SMALL else NOWHERE


def _levels(model: Model) -> Tensor:
    return model.path.log_snr(torch.arange(model.path.steps))


@dataclass(frozen=True)
class _Reader:
    """Reads concepts one after another in the same way."""

    before: Subject
    after: Subject | None
    law: Law
    seed: int
    batch: int
    tick: Callable[[int], None]

    def focused(self, sets: Sequence[PictureSet]) -> _Reader:
        """The same with noise levels drawn where, in the base model, words matter for these few pictures.

        The concept's own words and the whole prompt count equally: the latter says where other concepts' words matter.
        """
        seen = []
        for pictures in sets:
            nodes = self.law.nodes(stratified_uniforms(len(pictures), PILOT_NODES, self._stream(pictures, "pilot levels")))
            noise = self._noise(pictures, PILOT_NODES, self._stream(pictures, "pilot noise"))
            prompts = prompts_of(pictures, ("with", "rest", "empty"))
            answer = ask(self.before, pictures.latents, noise, nodes, prompts, self.batch, self.tick)
            for without in ("rest", "empty"):
                mass = contrast(noise.double(), answer["with"], answer[without], nodes.weights).curve[..., 0]
                seen.append(torch.stack([nodes.log_snr, mass / mass.sum().clamp(min=1e-12)]).flatten(1))
        loc, scale = fit_law(*torch.cat(seen, 1))
        return _Reader(self.before, self.after, Law(self.law.levels, loc, scale), self.seed, self.batch, self.tick)

    def read(self, pictures: PictureSet, floor: bool) -> tuple[ConceptReading, tuple[Figure | None, Tensor] | None]:
        """The reading, and the share left with its resamples if there is an edited model and the base knows the concept."""
        uniforms = stratified_uniforms(len(pictures), NODES, self._stream(pictures, "levels"))
        nodes, random = self.law.nodes(uniforms), self._stream(pictures, "noise")
        parts = []
        for start in range(0, len(pictures), CHUNK):
            rows = slice(start, start + CHUNK)
            part = pictures.part(rows)
            noise = self._noise(part, NODES, random)
            parts.append(
                integrals(self.before, self.after, part, nodes.part(rows), noise, floor=floor, batch=self.batch, tick=self.tick)
            )
        found: Integrals = join(parts)
        values, draws = summarise(found, self._stream(pictures, "bootstrap"))
        maps = {"base": found.base.maps} | ({} if found.edited is None else {"edited": found.edited.maps})
        seen = {name: _rows(each.mean(0)) for name, each in maps.items()}
        reading = ConceptReading(
            concept=pictures.concept.label,
            pictures=len(pictures),
            source=pictures.source,
            prompts=tuple(dict.fromkeys(wording.pair.prompt for wording in pictures.wordings)),
            curve=curve_of(found, uniforms, self.law.edges(2 * NODES)),
            maps=Maps(base=seen["base"], edited=seen.get("edited")),
            examples=_examples(self.before.model, pictures.part(slice(EXAMPLES)), maps) if floor else (),
            **values,
        )
        return reading, None if draws is None else (reading.conditional.share_left, draws)

    def _stream(self, pictures: PictureSet, purpose: str) -> torch.Generator:
        return stream(self.seed, pictures.concept.label, purpose)

    @staticmethod
    def _noise(pictures: PictureSet, nodes: int, random: torch.Generator) -> Tensor:
        return torch.randn(len(pictures), nodes, *pictures.latents.shape[1:], generator=random)


def _examples(model: Model, pictures: PictureSet, maps: Mapping[str, Tensor]) -> tuple[Example, ...]:
    decoded = model.decode(pictures.latents)
    return tuple(
        Example(wording.pair.prompt, decoded[i], {name: each[i] for name, each in maps.items()})
        for i, wording in enumerate(pictures.wordings)
    )


def _rows(values: Tensor) -> Rows:
    """A map for a file."""
    return tuple(tuple(round(value, DECIMALS) for value in row) for row in values.tolist())
