"""MiM-MU: remove the mutual information between a concept's words and the picture (arXiv 2603.00992)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from excise.concepts import Concept, apart
from excise.edits import WeightEdit
from excise.erasure import closed_form, states, subspaces, targets
from excise.erasure.counterexamples import Counterexample
from excise.erasure.divergences import judged
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.prompt_settings import Wording
from excise.erasure.run import Run
from excise.erasure.states import States, from_noise
from excise.erasure.text_rows import TextRows
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.wording import worded
from excise.methods.mim import MimSettings, metric
from excise.models import Conditioning, Model
from excise.models.entrances import Way

LEVELS = 100
"""Noise levels of a picture at which target=exclude weighs the evidence that it shows the concept (docs/mim.md has how far fewer are off)."""


def erase(model: Model, concepts: Sequence[Concept], settings: MimSettings, run: Run) -> WeightEdit:
    """Train until prompts with the concept predict what the frozen model predicts without its words.

    It begins at a closed-form solution for the concept's names, and learns what that leaves.
    No picture and no prompt of anything to be kept is used. What showed the concepts in an audit is trained beside their own prompts.
    """

    bank = PromptBank.of(model, concepts, plain=settings.phrasings == "plain").with_counterexamples(
        model, concepts, run.counterexamples
    )
    priors = torch.tensor([settings.prior or _prior(model, concept) for concept in concepts] * 2, dtype=torch.float64)
    felt = metric.moments(model, bank, concepts, settings.metric, run.generator(2))
    names = subspaces.select(model, settings.parameters)
    wide = torch.promote_types(model.dtype, torch.float32)
    inverses = {way: metric.Inverse(metric.inverse(own, settings.ridge).to(model.device, wide)) for way, own in felt.items()}
    descent = None
    if felt:
        read_by = {entrance.weight: inverses[entrance.reads] for entrance in model.entrances}
        descent = partial(metric.Steepest, inverses=[read_by.get(name) for name in names])
    with Trainable(model, names) as trainable:
        if felt and settings.start == "solved":
            _begin(model, concepts, bank, run.counterexamples, trainable, felt, settings)
        train(
            trainable,
            lambda round_: _round(model, bank, priors, trainable, settings, run, round_, inverses),
            settings,
            run,
            descent=descent,
        )
        deltas = trainable.deltas()
    return finish(model, deltas, "mim", concepts, settings, run)


def _begin(
    model: Model,
    concepts: Sequence[Concept],
    bank: PromptBank,
    counterexamples: Sequence[Counterexample],
    trainable: Trainable,
    felt: dict[Way, Tensor],
    settings: MimSettings,
) -> None:
    """Put keys and values where the concepts' names, and counterexamples, give what their target prompt gives, in least squares.

    UCE's solve (arXiv 2308.14761), with the metric in the place of concepts to preserve.
    """

    named = list(_names(model, concepts, settings))
    for way, own in felt.items():
        if bank.conditioned.mask is None:
            shown = _counterexamples(model, bank, way, settings)
        else:
            shown = _counted_by_token(model, counterexamples, way, settings)
        change = _redirected([*(pair[way] for pair in named), *shown], own, settings)
        with torch.no_grad():
            for name in set(model.entrances_of(way)) & trainable.parameters.keys():
                weight = trainable.parameters[name][:, : len(change)]
                weight.add_((weight.cpu().double() @ change).to(weight))


def _redirected(groups: Sequence[tuple[Tensor, Tensor]], felt: Tensor, settings: MimSettings) -> Tensor:
    """The change D (width, width) of one way in: its weights become W (I + D); groups are rows and what they should give."""
    rows, guides = (torch.cat([part.cpu().double() for part in side]) for side in zip(*groups, strict=True))
    strength = torch.cat([rows.new_full((len(own),), 1 / len(own)) for own, _ in groups])  # each group as if it were alone
    others = metric.root(felt)
    held = rows.new_full((len(others),), settings.hold)
    ridge = settings.ridge * float(felt.diagonal().mean())
    return closed_form.redirect(rows, guides, strength, others, held, ridge).change()


def _names(model: Model, concepts: Sequence[Concept], settings: MimSettings) -> Iterator[dict[Way, tuple[Tensor, Tensor]]]:
    """Of each concept the rows of its names, from the last word on, and those of the same prompts without it, (n, width) float64."""
    wording: Wording = "name" if settings.phrasings == "plain" else "phrases"
    for concept in apart(concepts):
        pairs = worded(concept, wording, "" if settings.target == "null" else None)
        encoded = TextRows.by_way(model, [text for pair in pairs for text in (pair.prompt, pair.masked)])
        found = {}
        for way, bank in encoded.items():
            sides = zip(*(bank.paired(pair.prompt, pair.masked, "aligned") for pair in pairs), strict=True)
            rows, guides = (torch.cat(side) for side in sides)
            found[way] = rows, guides
        yield found


def _counterexamples(model: Model, bank: PromptBank, way: Way, settings: MimSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """Of the counterexamples of each concept all rows, and those of what they are to be taken for, (n, width)."""
    rest = bank.empty.expand(len(bank.masked)) if settings.target == "null" else bank.masked
    found = slice(len(bank.pairs), None)
    owner, told, masked = bank.owner[found], bank.conditioned[found], rest[found]
    for index in owner.unique():
        yield model.read(told[owner == index], way), model.read(masked[owner == index], way)


def _counted_by_token(
    model: Model, counterexamples: Sequence[Counterexample], way: Way, settings: MimSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same where prompts have rows of their own alone, so that those of two may not be as many: like goes with like."""
    for label in dict.fromkeys(each.concept for each in counterexamples):
        guides = {
            each.told: "" if settings.target == "null" else each.masked for each in counterexamples if each.concept == label
        }
        texts = [told for told in guides if isinstance(told, str)]
        encoded = TextRows.of(model, [*texts, *guides.values()], way=way)
        sides = zip(*(_beside(encoded, told, guide) for told, guide in guides.items()), strict=True)
        rows, others = (torch.cat(side) for side in sides)
        yield rows, others


def _beside(encoded: TextRows, told: str | Tensor, guide: str) -> tuple[Tensor, Tensor]:
    """Rows of a prompt, or of an embedding (tokens, width) of one context, and those of what it is to be taken for."""
    if isinstance(told, str):
        return encoded.paired(told, guide, "all")
    return told.cpu().double(), encoded.all(guide)[: len(told)]


def _round(
    model: Model, bank: PromptBank, priors: Tensor, trainable: Trainable, settings: MimSettings, run: Run, round_: int,
    inverses: dict[Way, metric.Inverse],
) -> Callable[[int], Tensor]:  # fmt: skip
    """Collect states and their targets; return the loss of a step."""

    states = _collect(model, bank, trainable, settings, run, round_)
    with trainable.untrained():
        target = _targets(model, bank, priors, states, settings, run.generator(3, round_))
    weights = _weights(model, states.t, settings.weight).to(target.device, target.dtype)

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(states), (settings.batch,), generator=run.generator(1, round_, step))
        error = (_student(model, bank, states, rows, settings) - target[rows]).square().flatten(1).mean(1)
        error = judged(error, settings, channels=target.shape[1])
        total = (weights[rows] * error).mean()
        for way, inverse in inverses.items():
            inverse.reads(model.read(_asked(bank, states, rows, settings), way))
        return total + _rest_loss(model, bank, trainable, states, rows) if settings.anchor_rest else total

    return loss


def _prior(model: Model, concept: Concept) -> float:
    """Share of neutral pictures that show the concept, as if all declared ones of its kind were equally common; 1/20 of fewer than two."""
    declared = len(model.catalog.of_kind(concept.kind))
    return 1 / declared if declared > 1 else 1 / 20


def _collect(model: Model, bank: PromptBank, trainable: Trainable, settings: MimSettings, run: Run, round_: int) -> States:

    generator = run.generator(0, round_)
    rows = bank.draw(settings.trajectories, generator, first=round_ * settings.trajectories)
    steps, scale = settings.sampler_steps, settings.guidance_scale
    if settings.states == "trajectory":
        return states.trajectory_states(model, bank, rows, generator, steps=steps, guidance_scale=scale, eta=settings.eta)
    with trainable.untrained():
        pictures = states.forgetting_set(model, bank, rows, generator, steps=steps, guidance_scale=scale)
    levels = max(steps, LEVELS) if settings.target == "exclude" else steps
    return states.forward_states(model, pictures, rows, levels, generator)


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
    if weight == "log_snr":  # T/2 |d log-SNR / dt| in noise space, up to a constant
        value = model.path.log_snr_weight(t) * model.path.noise_scale(t)
    else:
        _, value = model.path.squares(t)
    return value / value.mean()
