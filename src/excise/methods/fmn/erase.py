"""Forget-Me-Not: take the attention away from the concept's words (arXiv 2303.17591)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from excise.concepts import Concept, apart
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.attention import named_tokens
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.targets import noised
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import learning_pictures
from excise.erasure.wording import worded
from excise.methods.fmn import FmnSettings
from excise.models import Model


def erase(model: Model, concepts: Sequence[Concept], settings: FmnSettings, run: Run) -> WeightEdit:
    """On noised pictures of the concept, make its words' attention small; predictions are not looked at."""

    trainable = Trainable(model, subspaces.select(model, settings.parameters))
    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None) for concept in apart(concepts)])
    named = named_tokens(model, bank, concepts, end=settings.end_token)
    shown = learning_pictures(model, bank, settings, run, shows="conditioned")

    def prepare(round_: int) -> Callable[[int], Tensor]:
        def loss(step: int) -> Tensor:
            generator = run.generator(1, round_, step)
            clean, rows = shown.draw(settings.batch, generator)
            noisy, _, t = noised(model, clean, generator)
            with model.attention_maps() as maps:
                model.predict(noisy, t, bank.conditioned[rows])
            return resteering(maps, named[rows]).mean()

        return loss

    with trainable:
        train(trainable, prepare, settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "fmn", concepts, settings, run)


def resteering(maps: Sequence[Tensor], named: Tensor) -> Tensor:
    """Norm of all attention probabilities to the named tokens, over layers, heads and pixels together, (b,).

    maps  (b, heads, pixels, tokens) each; named (b, tokens) bool
    """

    chosen = named.to(maps[0].device)[:, None, None, :]
    return torch.stack([(probabilities * chosen).square().flatten(1).sum(1) for probabilities in maps]).sum(0).sqrt()
