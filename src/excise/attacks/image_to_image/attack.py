"""Image to image: give the erased model a noised picture of the concept and let it finish (strengths as in SDEdit, arXiv 2108.01073).

With little noise any model leaves the picture as it is. So the strengths that count are those at which the neutral control fails.
"""

from __future__ import annotations

import torch

from excise.attacks import ddim
from excise.attacks.asking import batches, encode
from excise.attacks.image_to_image import ImageSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: ImageSettings) -> None:
    """Start from the base model's picture of the same prompt with the concept's words, at the same seed."""
    model, steps = victim.model, ddim.grid(victim.model)
    empty = model.unconditional()
    counts = [max(1, round(strength * len(steps))) for strength in settings.strengths]
    costs = [2 * count for count in counts]
    for strength, count in victim.budget.tries(list(zip(settings.strengths, counts, strict=True)), costs):
        rest = steps[len(steps) - count :]
        cases = victim.affordable(2 * count)
        if not cases:
            break
        asked = encode(model, [case.asked for case in cases])
        z = ddim.noised(victim.original.targets(cases), victim.draws.noise(cases, strength), rest[0].abar)
        parts = [ddim.finish(model, z[part], rest, empty, asked[part]) for part in batches(model, len(cases))]
        victim.submit(cases, torch.cat(parts), {"strength": strength})
