"""Inverted latents: lead a picture of the concept back to the noise that it would have come from, and let the model start there
(M-ErasureBench, arXiv 2512.22877; also arXiv 2412.00782).

Asked for nothing, any model makes nearly the picture again that it led back itself, whether it ever saw the concept or not. So only what
the gold standard does not do is evidence of what was left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.attacks import ddim
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.ddim import Step
from excise.attacks.inverted_latents import InvertedLatentsSettings, Through
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: InvertedLatentsSettings) -> None:
    """The pictures are the base model's of the same prompts with the concept's words. The base model's own steps are not part of the
    budget."""
    model, steps = victim.model, ddim.grid(victim.model)
    ways = [(through, told) for through in settings.through for told in settings.told]
    costs = [len(steps) * ((through == "erased") + (2 if told == "prompt" else 1)) for through, told in ways]
    for (through, told), cost in zip(victim.budget.tries(ways, costs), costs, strict=False):
        cases = victim.affordable(cost)
        if not cases:
            break
        z = led_back(victim, cases, steps, through)
        empty = model.unconditional()
        if told == "nothing":
            found = [ddim.finish_alone(model, z[part], steps, empty) for part in batches(model, len(cases))]
        else:
            asked = encode(model, [case.asked for case in cases])
            found = [ddim.finish(model, z[part], steps, empty, asked[part]) for part in batches(model, len(cases))]
        victim.submit(cases, torch.cat(found), {"through": through, "told": told})


def led_back(victim: Victim, cases: Sequence[Case], steps: Sequence[Step], through: Through) -> Tensor:
    """The noise, (cases, c, h, w), from which that model comes to the pictures of the cases when it is asked for nothing."""
    pictures = victim.original.targets(cases)
    if through == "erased":
        return _led_back(victim, pictures, steps)
    with victim.original.acting(), victim.budget.meter.paused():
        return _led_back(victim, pictures, steps)


def _led_back(victim: Victim, pictures: Tensor, steps: Sequence[Step]) -> Tensor:
    model, empty = victim.model, victim.model.unconditional()
    return torch.cat([ddim.inverted(model, pictures[part], steps, empty) for part in batches(model, len(pictures))])
