"""ESD: teach the prompt of a concept the prediction that negative guidance gives (arXiv 2303.07345)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

from torch import Tensor

from excise.concepts import Concept, apart
from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.divergences import judged
from excise.erasure.make_edit import finish
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import visits
from excise.erasure.subspaces import Parameters
from excise.erasure.targets import mean_squares, predictions, steered
from excise.erasure.trainable import Trainable
from excise.erasure.training import train
from excise.erasure.wording import worded
from excise.methods.esd import EsdSettings
from excise.models import Model
from excise.models.context import tell_cut

VARIANTS: dict[str, tuple[Parameters, ...]] = {
    "x": ("attn2", "attn", "kv"), "x-strict": ("attn-kv", "kv"), "u": ("noxattn",), "text-qk": ("text-qk",),
    "all": ("full",),
}  # fmt: skip
"""What may change: the first that the model has. Without attention between pictures and text of its own, that is the entrances (ours)."""


def erase(model: Model, concepts: Sequence[Concept], settings: EsdSettings, run: Run) -> WeightEdit:
    """Train until the concept's prompts predict what the frozen model predicts when guided away from the concept."""

    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None) for concept in apart(concepts)])
    with Trainable(model, subspaces.select_first(model, VARIANTS[settings.variant])) as trainable:
        train(trainable, lambda round_: _round(model, bank, trainable, settings, run, round_), settings, run)
        deltas = trainable.deltas()
    return finish(model, deltas, "esd", concepts, settings, run)


def _round(
    model: Model, bank: PromptBank, trainable: Trainable, settings: EsdSettings, run: Run, round_: int
) -> Callable[[int], Tensor]:
    """The loss of a step. Raw outputs are compared: the target is the same formula for noise and velocity."""

    taught = bank
    if settings.erase_from is not None:
        tell_cut(model, [settings.erase_from])
        taught = replace(bank, conditioned=model.encode([settings.erase_from]).expand(len(bank.conditioned)))
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
