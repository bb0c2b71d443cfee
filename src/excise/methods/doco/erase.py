"""DoCo: a critic shall not tell the concept from an anchor; gradients that would harm the anchor are turned (arXiv 2405.15304)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Generator, Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.anchors import anchored
from excise.erasure.attention import start_token_detached
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error, noised
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import Learning, learning_pictures
from excise.methods.doco import DocoSettings, Surgery
from excise.methods.doco.critic import Critic
from excise.models import Model


def erase(model: Model, concepts: Sequence[Concept], settings: DocoSettings, run: Run) -> WeightEdit:
    """Make pictures of the anchor, train the critic alone, then critic and model against each other."""

    trainable = Trainable(model, subspaces.select(model, settings.parameters))
    bank = anchored(model, concepts, settings)
    anchors = learning_pictures(model, bank, settings, run, shows="masked")
    critic = Critic(anchors.latents, settings.critic_lr, run.generator(3), entangled=settings.entangled)
    with trainable:
        prepare, adjust, after = _duel(model, bank, anchors, critic, trainable, settings, run)
        with start_token_detached(model) if settings.detach_start else nullcontext():
            train(trainable, prepare, settings, run, adjust=adjust, clips=False, after=after, state=critic.state)
        deltas = trainable.deltas()
    return finish(model, deltas, "doco", concepts, settings, run)


def _duel(
    model: Model, bank: PromptBank, anchors: Learning, critic: Critic, trainable: Trainable, settings: DocoSettings, run: Run
) -> tuple[Callable[[int], Callable[[int], Tensor]], Callable[[], None], Callable[[], None]]:
    """What a round begins with and its loss, what happens to the gradients, and the critic's turn after every step."""

    pair: list[Tensor] = []
    prior: dict[str, Tensor] = {}
    names, parameters = list(trainable.parameters), list(trainable.parameters.values())

    def look(generator: Generator) -> None:
        pair[:] = predicted(model, bank, anchors, trainable, settings.batch, generator)

    def prepare(round_: int) -> Callable[[int], Tensor]:
        for step in range(settings.warm_up if round_ == 0 else 0):
            run.progress("training the critic", step, settings.warm_up)
            with torch.no_grad():
                look(run.generator(4, step))
            critic.step(*pair)
        return lambda step: loss(run.generator(1, round_, step))

    def loss(generator: Generator) -> Tensor:
        if settings.surgery != "none":
            clean, rows = anchors.draw(settings.batch, generator)
            error = denoising_error(model, clean, bank.masked[rows], generator).mean()
            prior.update(zip(names, torch.autograd.grad(error, parameters, materialize_grads=True), strict=True))
        look(generator)
        return critic.adversarial(pair[1])

    def adjust() -> None:
        found = {name: parameter.grad for name, parameter in trainable.parameters.items() if parameter.grad is not None}
        gradients = clipped(found, settings.clip)
        if settings.surgery != "none":
            gradients = turned(gradients, clipped(prior, settings.clip), settings.surgery, settings.surgery_strength)
        for name, gradient in gradients.items():
            trainable.parameters[name].grad = gradient

    return prepare, adjust, lambda: critic.step(*pair)


def predicted(
    model: Model, bank: PromptBank, anchors: Learning, trainable: Trainable, batch: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Clean latents that the base predicts for the anchor, and those that the model as it is predicts for the concept, (b, c, h, w).

    Both see the same noisy pictures of the anchor.
    """

    clean, rows = anchors.draw(batch, generator)
    noisy, _, t = noised(model, clean, generator)
    with trainable.untrained():
        real = model.path.to_x0(model.predict(noisy, t, bank.masked[rows]), noisy, t)
    return real, model.path.to_x0(model.predict(noisy, t, bank.conditioned[rows]), noisy, t)


def clipped(gradients: Mapping[str, Tensor], limit: float | None) -> dict[str, Tensor]:
    """The gradients, scaled so that all together have at most this norm."""

    if limit is None:
        return dict(gradients)
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    return {name: gradient * (limit / norm.clamp_min(limit)) for name, gradient in gradients.items()}


def turned(
    gradients: Mapping[str, Tensor], others: Mapping[str, Tensor], surgery: Surgery, strength: float
) -> dict[str, Tensor]:
    """The gradients a without the conflict with b: where <a, b> < 0 a multiple of b is subtracted, tensor by tensor.

    projection  a - strength <a, b> b / |b|^2: then <a, b> = 0, and the step leaves the other loss as it is, to first order
    released    a - strength cos(a, b) b / |b|: with |a| < 1, as it is after clipping, more than that, so that the step lowers the
                other loss
    """
    found = {}
    for name, a in gradients.items():
        b = others[name]
        along, size = (a * b).sum() / b.norm(), a.norm()  # NaN where b is zero: then nothing conflicts
        if along < 0:
            a = a - strength * (along if surgery == "projection" else along / size) * b / b.norm()
        found[name] = a
    return found
