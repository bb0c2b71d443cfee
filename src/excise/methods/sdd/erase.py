"""SDD: the concept's prompts learn the model's own answer to the empty prompt, from states of its slow average (arXiv 2307.05977)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from excise.concepts import Concept, apart
from excise.edits import WeightEdit
from excise.edits.deltas import difference
from excise.erasure import subspaces
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import visits
from excise.erasure.subspaces import Parameters
from excise.erasure.targets import mean_squares
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.wording import worded
from excise.methods.sdd import SddSettings
from excise.models import Model

CHOICES: dict[str, tuple[Parameters, ...]] = {"attn2": ("attn2", "kv"), "kv": ("kv",), "full": ("full",)}
"""What may change: the first that the model has. The paper has U-Nets alone, so of a transformer that is what reads text and no picture."""


def erase(model: Model, concepts: Sequence[Concept], settings: SddSettings, run: Run) -> WeightEdit:
    """Train a student while an average of it, which holds only the trained tensors, visits the states."""

    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None) for concept in apart(concepts)])
    names = ", ".join(concept.phrases[0] for concept in concepts)
    if settings.joined != "none" and (rest := model.left_out([names])):
        raise ValueError(
            f"joined={settings.joined} puts {len(concepts)} names into one prompt, and {rest[names]!r} is cut off; erase fewer at once"
        )
    together = model.encode([names]).expand(len(bank.conditioned))
    shown = replace(bank, conditioned=together) if settings.joined == "states" else bank
    taught = replace(bank, conditioned=together) if settings.joined == "student" else bank
    with Trainable(model, subspaces.select_first(model, CHOICES[settings.parameters])) as trainable:
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

    visit = visits(model, shown, settings, run, round_, lambda: trainable.holding(teacher))

    def loss(step: int) -> Tensor:
        states = visit(step)
        with torch.no_grad():  # the student as it is now: nothing holds it to the base
            target = model.predict(states.latents, states.t, taught.empty.expand(len(states)))
        return mean_squares(model.predict(states.latents, states.t, taught.conditioned[states.row]) - target).mean()

    return loss
