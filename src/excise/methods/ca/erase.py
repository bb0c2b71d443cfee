"""Concept Ablation: on pictures of an anchor, the concept's prompt learns the anchor's prediction (arXiv 2303.13516)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from excise.concepts import Concept
from excise.erasure.anchors import Anchored, anchored
from excise.erasure.divergences import Divergent, judged
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import WeightEdit
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.run import Run
    from excise.erasure.trainable import Trainable
    from excise.erasure.training_pictures import Learning
    from excise.models import Model

_PAPER = {"rounds": 1, "steps": 100, "batch": 8, "lr": 1.6e-5, "schedule": "constant", "weight_decay": 1e-2, "clip": 1.0} | {
    "pictures": 1000, "picture_steps": 25, "picture_guidance": 6.0
}  # fmt: skip
_NUDITY = {"parameters": "attn", "lr": 6.4e-5, "rounds": 4, "prior_weight": 1.0}
_F_DMU = {**_PAPER, "rounds": 5, "batch": 4, "lr": 2.8e-4, "clip": None, "teacher": "base", "divergence": "hellinger"}


class CaSettings(Anchored, Divergent):
    """Published values are presets for Stable Diffusion 1.x (lr as it was used, 2e-6 x batch 4 x 2 GPUs); the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": _PAPER,
        "nudity": {**_PAPER, **_NUDITY},
        "memorised": {**_PAPER, "parameters": "full", "lr": 2e-6, "rounds": 4, "batch": 4},
        "f-dmu": _F_DMU,
    }

    variant: Literal["model", "noise"] = Field("model", description="target: the anchor's prediction, or the noise itself")
    teacher: Literal["current", "base"] = Field(
        "current", description="whose prediction the anchor's is: the model as trained so far (published), or the base (f-DMU)"
    )
    lr: float = Field(3e-4, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    parameters: Literal["kv", "attn", "full"] = Field("kv", description="which weights may change")
    prior_weight: float = Field(0.0, ge=0, description="weight of the ordinary training loss on the anchor's pictures")


@register("ca", title="Concept Ablation", paper="arXiv 2303.13516", settings=CaSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: CaSettings, run: Run) -> WeightEdit:
    """Make pictures of the anchor, then train the concept's prompts on them."""
    from excise.erasure import subspaces
    from excise.erasure.attention import start_token_detached
    from excise.erasure.make_edit import finish
    from excise.erasure.trainable import Trainable
    from excise.erasure.training import train
    from excise.erasure.training_pictures import learning_pictures

    trainable = Trainable(model, subspaces.select(model.unet, settings.parameters))
    bank = anchored(model, concepts, settings)
    anchors = learning_pictures(model, bank, settings, run, shows="masked")
    with trainable:
        with start_token_detached(model.unet) if settings.detach_start else nullcontext():
            train(trainable, lambda round_: _round(model, bank, anchors, trainable, settings, run, round_), settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "ca", concepts, settings, run)


def _round(
    model: Model, bank: PromptBank, anchors: Learning, trainable: Trainable, settings: CaSettings, run: Run, round_: int
) -> Callable[[int], Tensor]:
    """The loss of a step. Raw outputs are compared: they are the anchor's own, or what the model was trained to output."""
    import torch

    from excise.erasure.targets import denoising_error, mean_squares, noised

    def loss(step: int) -> Tensor:
        generator = run.generator(1, round_, step)
        clean, rows = anchors.draw(settings.batch, generator)
        noisy, noise, t = noised(model, clean, generator)
        if settings.variant == "noise":
            target = model.schedule.target(clean, noise, t)
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
