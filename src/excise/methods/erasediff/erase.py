"""EraseDiff: forgetting as a constraint on fine-tuning with what is kept (arXiv 2401.05779)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error, relabelled_error
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import check_retained, learning_pictures, retained_pictures
from excise.methods.erasediff import EraseDiffSettings
from excise.models import Model

Errors = Callable[[int], "Tensor"]


def erase(model: Model, concepts: Sequence[Concept], settings: EraseDiffSettings, run: Run) -> WeightEdit:
    """Minimise keeping + lambda (forgetting - its minimum nearby)."""

    check_retained(model, concepts, settings)
    trainable = Trainable(model, subspaces.select(model, settings.parameters))
    bank = PromptBank.of_pairs(model, redirected(model, concepts, settings.wording, settings.pseudo))
    forget = learning_pictures(model, bank, settings, run, shows="conditioned")
    keep, texts = retained_pictures(model, concepts, settings, run)

    def forgetting(*stream: int) -> Tensor:
        generator = run.generator(1, *stream)
        clean, rows = forget.draw(settings.batch, generator)
        return relabelled_error(model, clean, bank.conditioned[rows], bank.masked[rows], generator).mean()

    def keeping(*stream: int) -> Tensor:
        generator = run.generator(3, *stream)
        clean, rows = keep.draw(settings.batch, generator)
        return denoising_error(model, clean, texts[rows], generator).mean()

    with trainable:

        def prepare(round_: int) -> Callable[[int], Tensor]:
            def loss(step: int) -> Tensor:
                low = lookahead(trainable, lambda k: forgetting(round_, step, k + 1), settings)
                kept, forgotten = keeping(round_, step), forgetting(round_, step)
                return kept + weight(kept, forgotten, low, trainable, settings) * forgotten

            return loss

        train(trainable, prepare, settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "erasediff", concepts, settings, run)


def lookahead(trainable: Trainable, forgetting: Errors, settings: EraseDiffSettings) -> float:
    """Mean of the forgetting loss over K steps that go down it; the weights are put back. Of use to balance=bome alone."""

    if settings.balance != "bome" or not settings.inner_steps:
        return 0.0
    held = {name: parameter.detach().clone() for name, parameter in trainable.parameters.items()}
    parameters = list(trainable.parameters.values())
    optimizer, found = torch.optim.Adam(parameters, lr=settings.lr), 0.0
    for k in range(settings.inner_steps):
        value = forgetting(k)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        found += value.item() / settings.inner_steps
    with torch.no_grad():
        for name, parameter in trainable.parameters.items():
            parameter.copy_(held[name])
    return found


def weight(kept: Tensor, forgotten: Tensor, low: float, trainable: Trainable, settings: EraseDiffSettings) -> float:
    """lambda of this step.

    cosine  max(0, eta - cos(a, b)); a, b gradients of keeping and forgetting
    bome    max(0, (eta (forgotten - low) - <a, b>) / ||b||^2), as if what is above `low` had to fall at the rate eta (BOME, eq. 5)
    """

    if settings.balance == "fixed":
        return settings.multiplier
    parameters = list(trainable.parameters.values())
    a, b = (torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in (kept, forgotten))
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    product = float(sum((x * y).sum() for x, y in pairs))
    squares = [float(sum(x.square().sum() for x in side if x is not None)) for side in (a, b)]
    if not squares[1]:
        return 0.0
    if settings.balance == "cosine":
        return max(0.0, settings.eta - product / (squares[0] * squares[1]) ** 0.5) if squares[0] else settings.eta
    return max(0.0, (settings.eta * max(0.0, forgotten.item() - low) - product) / squares[1])
