"""ESD: teach the prompt of a concept the prediction that negative guidance gives (arXiv 2303.07345)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from excise.concepts import Concept, apart
from excise.erasure.divergences import Divergent, judged
from excise.erasure.training_settings import Visiting
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import WeightEdit
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.run import Run
    from excise.erasure.subspaces import Parameters
    from excise.erasure.trainable import Trainable
    from excise.models import Model

VARIANTS: dict[str, Parameters] = {"x": "attn2", "x-strict": "kv", "u": "noxattn", "all": "full"}
_PAPER = {"wording": "name", "states": "fresh", "rounds": 10, "steps": 100, "batch": 1, "lr": 1e-5, "schedule": "constant"} | {
    "sampler_steps": 50, "guidance_scale": 3.0, "within_bin": True
}  # fmt: skip
_REWRITE = {**_PAPER, "steps": 20, "lr": 5e-5, "within_bin": False, "sampler": "base", "convention": "rewrite", "eta": 2.0}


class EsdSettings(Visiting, Divergent):
    """Published values are presets for Stable Diffusion 1.x; the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {**_PAPER, "variant": "x"},
        "paper-u": {**_PAPER, "variant": "u"},
        "rewrite": {**_REWRITE, "variant": "x"},
        "rewrite-strict": {**_REWRITE, "variant": "x-strict"},
        "alt": {**_REWRITE, "lr": 2e-5, "convention": "paper"},
    }

    lr: float = Field(1e-4, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    variant: Literal["x", "u", "x-strict", "all"] = Field(
        "x",
        description="what may change: cross-attention, the rest but for the time embedding and the last block, keys and values alone, or all",
    )
    eta: float = Field(1.0, description="strength of the negative guidance; 0 aims at the empty prompt's prediction")
    convention: Literal["paper", "rewrite"] = Field(
        "paper",
        description="the guidance starts from the empty prompt, or from the concept's own: rewrite needs an eta larger by 1",
    )
    erase_from: str | None = Field(
        None, description="convention=rewrite: teach this prompt instead of the concept's, and start from its prediction"
    )
    sampler: Literal["student", "base"] = Field("student", description="whose states: the model as trained so far, or the base")

    @model_validator(mode="after")
    def _consistent(self) -> EsdSettings:
        if self.erase_from is not None and self.convention != "rewrite":
            raise ValueError("erase_from belongs to convention=rewrite; give both")
        return self


@register("esd", title="ESD", paper="arXiv 2303.07345", settings=EsdSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: EsdSettings, run: Run) -> WeightEdit:
    """Train until the concept's prompts predict what the frozen model predicts when guided away from the concept."""
    from excise.erasure import subspaces
    from excise.erasure.make_edit import finish
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.trainable import Trainable
    from excise.erasure.training import train
    from excise.erasure.wording import worded

    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None) for concept in apart(concepts)])
    with Trainable(model, subspaces.select(model.unet, VARIANTS[settings.variant])) as trainable:
        train(trainable, lambda round_: _round(model, bank, trainable, settings, run, round_), settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "esd", concepts, settings, run)


def _round(
    model: Model, bank: PromptBank, trainable: Trainable, settings: EsdSettings, run: Run, round_: int
) -> Callable[[int], Tensor]:
    """The loss of a step. Raw outputs are compared: the target is the same formula for noise and velocity."""
    from excise.erasure.states import visits
    from excise.erasure.targets import mean_squares, predictions, steered

    taught = bank
    if settings.erase_from is not None:
        taught = replace(bank, conditioned=model.encode([settings.erase_from]).expand_as(bank.conditioned))
    visit = visits(model, taught, settings, run, round_, trainable.untrained if settings.sampler == "base" else nullcontext)

    def loss(step: int) -> Tensor:
        states = visit(step)
        prompts = taught.conditioned[states.row]
        with trainable.untrained():
            asked = [bank.empty, bank.conditioned[states.row], *([prompts] if taught is not bank else [])]
            empty, with_concept, *rest = predictions(model, states.latents, states.t, *asked)
        own = rest[0] if rest else with_concept
        target = steered(empty if settings.convention == "paper" else own, empty, with_concept, settings.eta)
        error = mean_squares(model.predict(states.latents, states.t, prompts) - target)
        return judged(error, settings, channels=target.shape[1]).mean()

    return loss
