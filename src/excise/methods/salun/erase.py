"""SalUn: relabel the concept, changing only the weights that matter most for it (arXiv 2310.12508)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from excise.concepts import Concept
from excise.erasure.training_settings import Relabelling
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import WeightEdit
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.run import Run
    from excise.erasure.trainable import Trainable
    from excise.erasure.training_pictures import Learning
    from excise.models import Model

_PAPER = {"wording": "name", "batch": 8, "lr": 1e-5, "schedule": "constant", "steps": 100, "pictures": 800, "retained": 800}


class SalUnSettings(Relabelling):
    """Published values are presets for Stable Diffusion 1.x (epochs of 800 pictures); the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "nudity": {**_PAPER, "rounds": 1, "retain_weight": 0.1, "retain": ("a photo of a person wearing clothes",)}
        | {"pseudo": "a photo of a person wearing clothes"},
        "class": {**_PAPER, "rounds": 5, "retain_weight": 0.5},
    }

    lr: float = Field(3e-5, gt=0, description="learning rate of Adam (no weight decay: it would move masked weights)")
    weight_decay: float = Field(0.0, ge=0, le=0, description="always 0")
    parameters: Literal["full", "attn2", "kv"] = Field("full", description="weights that the mask chooses from")
    density: float = Field(0.5, gt=0, le=1, description="share of the weights that the mask lets change")
    mask_guidance: float = Field(7.5, ge=0, description="guidance of the predictions that the mask is computed with")
    retain_weight: float = Field(0.5, ge=0, description="alpha: weight of the ordinary training loss on what to keep")


@register("salun", title="SalUn", paper="arXiv 2310.12508", settings=SalUnSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: SalUnSettings, run: Run) -> WeightEdit:
    """Find the mask, then train under it."""
    from excise.erasure import subspaces
    from excise.erasure.make_edit import finish
    from excise.erasure.prompt_bank import PromptBank, redirected
    from excise.erasure.targets import denoising_error, relabelled_error
    from excise.erasure.trainable import Trainable
    from excise.erasure.training import train
    from excise.erasure.training_pictures import check_retained, learning_pictures, retained_pictures

    if settings.retain_weight:
        check_retained(model, concepts, settings)
    trainable = Trainable(model, subspaces.select(model.unet, settings.parameters))
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
    import torch

    from excise.erasure.targets import mean_squares, noised, predictions

    for parameter in trainable.parameters.values():
        parameter.grad = None
    batches = torch.arange(len(forget.rows)).split(settings.batch)
    for number, part in enumerate(batches):
        run.progress("saliency", number, len(batches))
        clean = forget.latents[part.to(forget.latents.device)]
        noisy, noise, t = noised(model, clean, run.generator(4, number))
        empty, own = predictions(model, noisy, t, bank.empty, bank.conditioned[forget.rows[part]])
        guided = own + settings.mask_guidance * (own - empty)
        mean_squares(guided - model.schedule.target(clean, noise, t)).mean().backward()
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
    import torch

    flat = torch.cat([value.flatten() for value in values.values()])
    count = max(1, round(share * len(flat)))
    edge = flat.kthvalue(len(flat) - count + 1).values
    chosen = flat > edge
    chosen[(flat == edge).nonzero().squeeze(1)[: count - int(chosen.sum())]] = True
    parts = chosen.split([value.numel() for value in values.values()])
    return {name: part.view_as(value) for (name, value), part in zip(values.items(), parts, strict=True)}
