"""Concept Ablation: on pictures of an anchor, the concept's prompt learns the anchor's prediction (arXiv 2303.13516)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.anchors import anchored
from excise.erasure.attention import start_token_detached
from excise.erasure.divergences import judged
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error, mean_squares, noised
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import Learning, learning_pictures
from excise.methods.ca import CaSettings
from excise.models import Model


def erase(model: Model, concepts: Sequence[Concept], settings: CaSettings, run: Run) -> WeightEdit:
    """Make pictures of the anchor, then train the concept's prompts on them."""

    trainable = Trainable(model, subspaces.select(model, settings.parameters))
    bank = anchored(model, concepts, settings)
    anchors = learning_pictures(model, bank, settings, run, shows="masked")
    with trainable:
        with start_token_detached(model) if settings.detach_start else nullcontext():
            train(trainable, lambda round_: _round(model, bank, anchors, trainable, settings, run, round_), settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "ca", concepts, settings, run)


def _round(
    model: Model, bank: PromptBank, anchors: Learning, trainable: Trainable, settings: CaSettings, run: Run, round_: int
) -> Callable[[int], Tensor]:
    """The loss of a step. Raw outputs are compared: they are the anchor's own, or what the model was trained to output."""

    def loss(step: int) -> Tensor:
        generator = run.generator(1, round_, step)
        clean, rows = anchors.draw(settings.batch, generator)
        noisy, noise, t = noised(model, clean, generator)
        if settings.variant == "noise":
            target = model.path.output(clean, noise, t)
        else:
            with trainable.untrained() if settings.teacher == "base" else torch.no_grad():
                target = model.predict(noisy, t, bank.masked[rows])
        error = mean_squares(model.predict(noisy, t, bank.conditioned[rows]) - target)
        total = judged(error, settings, channels=target.shape[1]).mean()
        if not settings.prior_weight:
            return total
        clean, rows = anchors.draw(settings.batch, generator)
        return total + settings.prior_weight * denoising_error(model, clean, bank.masked[rows], generator).mean()

    return loss
