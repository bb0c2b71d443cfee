"""MiM-MU: remove the mutual information between a concept's words and the picture (arXiv 2603.00992)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Generator, Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import states, subspaces, targets
from excise.erasure.divergences import judged
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import States, from_noise
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.methods.mim import MimSettings, heads, metric, start
from excise.methods.mim.left import WEIGHTS, HeldOut, Left, Watch
from excise.models import Conditioning, Model
from excise.models.drawing import HIGHER_ORDER
from excise.models.entrances import Way

LEVELS = 100
"""Noise levels of a picture at which target=exclude weighs the evidence that it shows the concept; docs/research/mim/tried.md has fewer."""

HELD_OUT = 8
"""Pictures that nothing is learned from (ours): enough for an interval that sees that pictures differ."""


def erase(model: Model, concepts: Sequence[Concept], settings: MimSettings, run: Run) -> WeightEdit:
    """Solve and train until prompts with the concept predict what the frozen model predicts without its words.

    It begins at closed-form solutions for the concept's names and for what attention reads of its prompts, and learns what these leave.
    No picture and no prompt of anything to be kept is used. What showed the concepts in an audit is trained beside their own prompts.
    """

    bank = PromptBank.of(model, concepts, plain=settings.phrasings == "plain").with_counterexamples(
        model, concepts, run.counterexamples
    )
    priors = torch.tensor([settings.prior or _prior(model, concept) for concept in concepts] * 2, dtype=torch.float64)
    felt = metric.moments(model, bank, concepts, settings.metric, run.generator(2))
    if settings.metric == "near":
        named = start.redirections(model, concepts, bank, run.counterexamples, felt, settings)
        felt = metric.moments(model, bank, concepts, settings.metric, run.generator(2), moved_by=named)
    names = subspaces.select(model, settings.parameters)
    wide = torch.promote_types(model.dtype, torch.float32)
    inverses = {way: metric.Inverse(metric.inverse(own, settings.ridge).to(model.device, wide)) for way, own in felt.items()}
    descent = None
    if felt:
        read_by = {entrance.weight: inverses[entrance.reads] for entrance in model.entrances}
        descent = partial(metric.Steepest, inverses=[read_by.get(name) for name in names])
    with Trainable(model, names) as trainable:
        lessons = Lessons(model, bank, priors, trainable, settings, run)
        bank.read_ahead(lessons.prompts)
        begun = run.checkpoint is not None and run.checkpoint.exists()
        if settings.start != "base" and not begun:
            start.redirect_names(model, concepts, bank, run.counterexamples, trainable, felt, settings)
        if settings.start == "attended" and "tokens" in felt and not begun:
            weights = _weights(model, lessons.forgetting.t, settings.weight)
            heads.align_reads(model, bank, lessons.forgetting, lessons.without, weights, trainable, felt["tokens"], settings)
        watch = Watch(lessons.left, settings.tolerance)
        train(
            trainable,
            lambda round_: _round(lessons, round_, inverses),
            settings,
            run,
            descent=descent,
            enough=watch if settings.rounds and settings.tolerance else None,
        )
        deltas = trainable.deltas()
    edit = finish(model, deltas, "mim", concepts, settings, run)
    return edit.with_measurements(watch.figures(settings.rounds)) if watch.left else edit


@dataclass(frozen=True)
class Lessons:
    """States and targets that all rounds share, made when they are first asked for."""

    model: Model
    bank: PromptBank
    priors: Tensor
    trainable: Trainable
    settings: MimSettings
    run: Run
    _without: list[Tensor] = field(default_factory=list)

    @property
    def prompts(self) -> Tensor:
        """The rows of the bank whose pictures are made or that are asked there, of every round too."""
        settings = self.settings
        if not settings.rounds and settings.start != "attended":
            return self.bank.owner[:0]
        visited = range(settings.rounds if settings.states == "trajectory" else 0)
        drawn = (self._learned, self._held, *((0, round_, settings.trajectories) for round_ in visited))
        asked = (self._asked(*which) for which in (self._learned, self._held))
        return torch.cat([*(self._drawn(*which)[0] for which in drawn), *asked])

    @property
    def _learned(self) -> tuple[int, int, int]:
        return 0, 0, max(self.settings.trajectories, self._concepts)

    @property
    def _held(self) -> tuple[int, int, int]:
        return 4, 0, max(HELD_OUT, self._concepts)

    @property
    def _concepts(self) -> int:
        """How many there are, counted twice where counterexamples of one were found: each has a picture at least."""
        return len(self.bank.owner.unique())

    def _drawn(self, stream: int, round_: int, count: int) -> tuple[Tensor, Generator]:
        """So many rows of the bank, and the generator that goes on with what is made of them."""
        generator = self.run.generator(stream, round_)
        return self.bank.draw(count, generator, first=round_ * count), generator

    def _asked(self, stream: int, round_: int, count: int) -> Tensor:
        """What is asked at the noised pictures, (levels x count,): at each level in other words, so that few pictures have many."""
        rows = self._drawn(stream, round_, count)[0]
        return self.bank.reworded(rows.repeat(self._levels), self.run.generator(5, stream))

    @property
    def _levels(self) -> int:
        """Noise levels of a picture."""
        return max(self.settings.sampler_steps, LEVELS) if self.settings.target == "exclude" else self.settings.sampler_steps

    @cached_property
    def forgetting(self) -> States:
        """Noised pictures of the concepts that the frozen model makes, to learn from."""
        return self._forward(*self._learned)

    @cached_property
    def targets(self) -> Tensor:
        """What they should give."""
        settings = self.settings
        known = sum(map(len, self._without)) == len(self.forgetting)
        if known and settings.target != "exclude" and settings.space != "guided":
            return torch.cat(self._without)
        return self.wanted(self.forgetting, 0)

    def without(self, rows: Tensor) -> Tensor:
        """What the frozen model answers to the prompts without the words at some of them, in order: kept, as most targets are that."""
        bank, states = self.bank, self.forgetting
        told = bank.empty.expand(len(rows)) if self.settings.target == "null" else bank.masked[states.row[rows]]
        with self.trainable.untrained():
            self._without.append(self.model.predict(states.latents[rows], states.t[rows], told))
        return self._without[-1]

    @cached_property
    def _held_out(self) -> tuple[States, HeldOut]:
        states = self._forward(*self._held)
        target = self.wanted(states, self.settings.rounds + 1)
        with self.trainable.untrained():
            before = self._answers(states)
        weights = torch.stack([_weights(self.model, states.t, weight) for weight in WEIGHTS])
        return states, HeldOut(states.picture, self.bank.owner[states.row], weights.cpu(), target, before)

    @torch.no_grad()
    def left(self) -> Left:
        """What is left with the weights as they are."""
        states, held_out = self._held_out
        return held_out.left(self._answers(states))

    def visited(self, round_: int) -> tuple[States, Tensor]:
        """States that the model as it is visits, and what they should give: anew in every round."""
        settings = self.settings
        rows, generator = self._drawn(0, round_, settings.trajectories)
        found = states.trajectory_states(
            self.model, self.bank, rows, generator,
            steps=settings.sampler_steps, guidance_scale=settings.guidance_scale, eta=settings.eta,
        )  # fmt: skip
        return found, self.wanted(found, round_)

    def wanted(self, states: States, number: int) -> Tensor:
        """What the states should give; `number` tells their random numbers from others'."""
        with self.trainable.untrained():
            return _targets(self.model, self.bank, self.priors, states, self.settings, self.run.generator(3, number))

    def _forward(self, stream: int, round_: int, count: int) -> States:
        settings, (rows, generator) = self.settings, self._drawn(stream, round_, count)
        steps, scale = settings.sampler_steps, settings.guidance_scale
        with self.trainable.untrained(), self.model.sampled_by(None if self.model.few_steps else HIGHER_ORDER):
            pictures = states.forgetting_set(self.model, self.bank, rows, generator, steps=steps, guidance_scale=scale)
        noised = states.forward_states(self.model, pictures, rows, self._levels, generator)
        return replace(noised, row=self._asked(stream, round_, count))

    def _answers(self, states: States) -> Tensor:
        """What the model gives with the words."""
        parts = torch.arange(len(states)).split(self.model.batch(64))
        return torch.cat([_student(self.model, self.bank, states, rows, self.settings) for rows in parts])


def _round(lessons: Lessons, round_: int, inverses: dict[Way, metric.Inverse]) -> Callable[[int], Tensor]:
    """The loss of a step of a round."""

    model, bank, settings, run = lessons.model, lessons.bank, lessons.settings, lessons.run
    states, target = lessons.visited(round_) if settings.states == "trajectory" else (lessons.forgetting, lessons.targets)
    weights = _weights(model, states.t, settings.weight).to(target.device, target.dtype)

    def loss(step: int) -> Tensor:
        rows = _batch(len(states), settings, run, round_, step)
        error = (_student(model, bank, states, rows, settings) - target[rows]).square().flatten(1).mean(1)
        error = judged(error, settings, channels=target.shape[1])
        total = (weights[rows] * error).mean()
        for way, inverse in inverses.items():
            inverse.reads(model.read(_asked(bank, states, rows, settings), way))
        return total + _rest_loss(model, bank, lessons.trainable, states, rows) if settings.anchor_rest else total

    return loss


def _batch(count: int, settings: MimSettings, run: Run, round_: int, step: int) -> Tensor:
    """The states of a step, of so many."""
    return torch.randint(count, (settings.batch,), generator=run.generator(1, round_, step))


def _prior(model: Model, concept: Concept) -> float:
    """Share of neutral pictures that show the concept, as if all declared ones of its kind were equally common; 1/20 of fewer than two."""
    declared = len(model.catalog.of_kind(concept.kind))
    return 1 / declared if declared > 1 else 1 / 20


def _targets(
    model: Model, bank: PromptBank, priors: Tensor, states: States, settings: MimSettings, generator: Generator
) -> Tensor:
    """The frozen model's answer for every state, in the space of the loss."""

    if settings.target == "exclude":
        paths = from_noise(model, states, generator)
        rest, with_concept = (_ask(model, paths, text) for text in (bank.masked, bank.conditioned))
        shown = targets.posterior(model, paths, rest, with_concept, priors[bank.owner[paths.row]])
        answer = targets.exclude(rest, with_concept, shown, settings.mirror)[-len(states) :]
    else:
        answer = _ask(model, states, bank.empty if settings.target == "null" else bank.masked)
    if settings.space == "guided":
        answer = model.guided(_ask(model, states, bank.empty), answer, model.guidance(settings.guidance_scale))
    return answer


def _ask(model: Model, states: States, conditioning: Conditioning) -> Tensor:
    """The model's output for every state; conditioning has one prompt per pair, or one for all."""

    def told(part: Tensor) -> Conditioning:
        return conditioning[states.row[part]] if len(conditioning) > 1 else conditioning.expand(len(part))

    parts = torch.arange(len(states)).split(model.batch(64))
    return torch.cat([model.predict(states.latents[part], states.t[part], told(part)) for part in parts])


def _student(model: Model, bank: PromptBank, states: States, rows: Tensor, settings: MimSettings) -> Tensor:

    x, t = states.latents[rows], states.t[rows]
    answer = model.predict(x, t, bank.conditioned[states.row[rows]])
    if settings.space == "guided":
        empty = model.predict(x, t, bank.empty.expand(len(rows)))
        answer = model.guided(empty, answer, model.guidance(settings.guidance_scale))
    return answer


def _asked(bank: PromptBank, states: States, rows: Tensor, settings: MimSettings) -> Conditioning:
    """All that the network is told in a step, of whose text rows the gradient is made."""
    parts = [bank.conditioned[states.row[rows].unique()]]
    if settings.space == "guided" or settings.anchor_rest:
        parts.append(bank.empty)
    if settings.anchor_rest:
        parts.append(bank.masked[states.row[rows].unique()])
    return Conditioning.join(parts)


def _rest_loss(model: Model, bank: PromptBank, trainable: Trainable, states: States, rows: Tensor) -> Tensor:
    """The bound's second term: prompts without the words (half of them empty) must answer as before."""

    x, t = states.latents[rows], states.t[rows]
    half = len(rows) // 2
    rest = Conditioning.join([bank.empty.expand(half), bank.masked[states.row[rows[half:]]]])
    with trainable.untrained():
        before = model.predict(x, t, rest)
    return (model.predict(x, t, rest) - before).square().mean()


def _weights(model: Model, t: Tensor, weight: str) -> Tensor:
    """Weight of every state's squared error, mean one over the pool, (n,) float64."""

    if weight == "simple":
        return torch.ones_like(t, dtype=torch.float64)
    if weight == "both":
        return (1 + _weights(model, t, "log_snr")) / 2
    if weight == "log_snr":  # T/2 |d log-SNR / dt| in noise space, up to a constant
        value = model.path.log_snr_weight(t) * model.path.noise_scale(t)
    else:
        _, value = model.path.squares(t)
    return value / value.mean()
