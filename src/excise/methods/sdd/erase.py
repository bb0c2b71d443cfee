"""SDD: the concept's prompts learn the model's own answer to the empty prompt, from states of its slow average (arXiv 2307.05977)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from excise.concepts import Concept, apart
from excise.erasure.training_settings import Visiting
from excise.methods import register

if TYPE_CHECKING:
    from torch import Tensor

    from excise.edits import WeightEdit
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.run import Run
    from excise.erasure.trainable import Trainable
    from excise.models import Model


class SddSettings(Visiting):
    """Published values are the preset for Stable Diffusion 1.x; the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "wording": "name", "states": "fresh", "rounds": 15, "steps": 100, "batch": 1, "lr": 1e-5, "schedule": "constant",
            "weight_decay": 1e-4, "clip": 1.0, "sampler_steps": 50, "guidance_scale": 3.0, "within_bin": True, "decay": 0.999,
            "joined": "states",
        },
    }  # fmt: skip

    lr: float = Field(3e-4, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    parameters: Literal["attn2", "kv", "full"] = Field("attn2", description="which weights may change")
    decay: float = Field(
        0.99, ge=0, le=1, description="of the average (teacher): its weight of the past after every step; published 0.999"
    )
    output: Literal["teacher", "student"] = Field(
        "teacher", description="what the edit holds; the teacher still has decay^steps of the base in it"
    )
    joined: Literal["none", "states", "student"] = Field(
        "none",
        description="several concepts: which prompt is all names in one, the states' (the authors' code) or the one taught (their text)",
    )


@register("sdd", title="SDD", paper="arXiv 2307.05977", settings=SddSettings)
def erase(model: Model, concepts: Sequence[Concept], settings: SddSettings, run: Run) -> WeightEdit:
    """Train a student while an average of it, which holds only the trained tensors, visits the states."""
    from excise.edits.edit import difference
    from excise.erasure import subspaces
    from excise.erasure.make_edit import finish
    from excise.erasure.prompt_bank import PromptBank
    from excise.erasure.trainable import Trainable
    from excise.erasure.training import train
    from excise.erasure.wording import worded

    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None) for concept in apart(concepts)])
    together = model.encode([", ".join(concept.phrases[0] for concept in concepts)]).expand_as(bank.conditioned)
    shown = replace(bank, conditioned=together) if settings.joined == "states" else bank
    taught = replace(bank, conditioned=together) if settings.joined == "student" else bank
    with Trainable(model, subspaces.select(model.unet, settings.parameters)) as trainable:
        teacher = {name: parameter.detach().clone() for name, parameter in trainable.parameters.items()}

        def follow() -> None:
            for name, parameter in trainable.parameters.items():
                teacher[name].mul_(settings.decay).add_(parameter.detach(), alpha=1 - settings.decay)

        def prepare(round_: int) -> Callable[[int], Tensor]:
            return _round(model, shown, taught, trainable, teacher, settings, run, round_)

        train(trainable, prepare, settings, run, after=follow, state=teacher)
        deltas = trainable.deltas() if settings.output == "student" else difference(trainable.before, teacher)
    return finish(model, deltas, "sdd", concepts, settings, run)


def _round(
    model: Model, shown: PromptBank, taught: PromptBank, trainable: Trainable, teacher: dict[str, Tensor],
    settings: SddSettings, run: Run, round_: int,
) -> Callable[[int], Tensor]:  # fmt: skip
    """The loss of a step; raw outputs are compared, for the target is itself a prediction."""
    import torch

    from excise.erasure.states import visits
    from excise.erasure.targets import mean_squares

    visit = visits(model, shown, settings, run, round_, lambda: trainable.holding(teacher))

    def loss(step: int) -> Tensor:
        states = visit(step)
        with torch.no_grad():  # the student as it is now: nothing holds it to the base
            target = model.predict(states.latents, states.t, taught.empty.expand(len(states), -1, -1))
        return mean_squares(model.predict(states.latents, states.t, taught.conditioned[states.row]) - target).mean()

    return loss
