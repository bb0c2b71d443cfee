"""SalUn: relabel the concept, changing only the weights that matter most for it (arXiv 2310.12508)."""

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
from excise.erasure.targets import denoising_error, mean_squares, noised, predictions, relabelled_error
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import Learning, check_retained, learning_pictures, retained_pictures
from excise.methods.salun import SalUnSettings
from excise.models import Model


def erase(model: Model, concepts: Sequence[Concept], settings: SalUnSettings, run: Run) -> WeightEdit:
    """Find the mask, then train under it."""

    if settings.retain_weight:
        check_retained(model, concepts, settings)
    trainable = Trainable(model, subspaces.select(model, settings.parameters))
    bank = PromptBank.of_pairs(model, redirected(model, concepts, settings.wording, settings.pseudo))
    forget = learning_pictures(model, bank, settings, run, shows="conditioned")
    retained = retained_pictures(model, concepts, settings, run) if settings.retain_weight else None

    def loss(round_: int, step: int) -> Tensor:
        generator = run.generator(1, round_, step)
        clean, rows = forget.draw(settings.batch, generator)
        total = relabelled_error(model, clean, bank.conditioned[rows], bank.masked[rows], generator).mean()
        if retained is not None:
            keep, texts = retained
            clean, rows = keep.draw(settings.batch, generator)
            total = total + settings.retain_weight * denoising_error(model, clean, texts[rows], generator).mean()
        return total

    with trainable:
        masks = top_share(saliency(model, bank, forget, trainable, settings, run), settings.density)

        def hold() -> None:
            for name, parameter in trainable.parameters.items():
                if parameter.grad is not None:
                    parameter.grad.mul_(masks[name])

        def prepare(round_: int) -> Callable[[int], Tensor]:
            return lambda step: loss(round_, step)

        train(trainable, prepare, settings, run, adjust=hold)
        deltas = trainable.deltas()
    return finish(model, deltas, "salun", concepts, settings, run)


def saliency(
    model: Model, bank: PromptBank, forget: Learning, trainable: Trainable, settings: SalUnSettings, run: Run
) -> dict[str, Tensor]:
    """|sum of gradients| of the guided denoising loss over the pictures to forget, once each, by tensor.

    The loss is in the model's own terms: (1 + g) output(concept) - g output(empty) against what it was trained to output.
    """

    for parameter in trainable.parameters.values():
        parameter.grad = None
    batches = torch.arange(len(forget.rows)).split(settings.batch)
    for number, part in enumerate(batches):
        run.progress("saliency", number, len(batches))
        clean = forget.latents[part.to(forget.latents.device)]
        noisy, noise, t = noised(model, clean, run.generator(4, number))
        empty, own = predictions(model, noisy, t, bank.empty, bank.conditioned[forget.rows[part]])
        guided = own + settings.mask_guidance * (own - empty)
        mean_squares(guided - model.path.output(clean, noise, t)).mean().backward()
    run.progress("saliency", len(batches), len(batches))
    found = {
        name: parameter.grad.abs() if parameter.grad is not None else torch.zeros_like(parameter)
        for name, parameter in trainable.parameters.items()
    }
    for parameter in trainable.parameters.values():
        parameter.grad = None
    return found


def top_share(values: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """True for the largest `share` of all entries of all tensors together (of equal ones, the first), by tensor."""

    flat = torch.cat([value.flatten() for value in values.values()])
    count = max(1, round(share * len(flat)))
    edge = flat.kthvalue(len(flat) - count + 1).values
    chosen = flat > edge
    chosen[(flat == edge).nonzero().squeeze(1)[: count - int(chosen.sum())]] = True
    parts = chosen.split([value.numel() for value in values.values()])
    return {name: part.view_as(value) for (name, value), part in zip(values.items(), parts, strict=True)}
