"""Image to image: give the erased model a noised picture of the concept and let it finish (strengths as in SDEdit, arXiv 2108.01073).

Little noise leaves the picture as it is, with any model: the strengths that count are those at which the neutral control fails.
"""

from __future__ import annotations

import torch

from excise.attacks import ddim
from excise.attacks.image_to_image import ImageSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: ImageSettings) -> None:
    """From the base model's picture of the same prompt with the concept's words, same seed."""

    model, steps = victim.model, ddim.grid(victim.model)
    empty, shown = model.encode([""]), {}
    counts = [max(1, round(strength * len(steps))) for strength in settings.strengths]
    for strength, count in victim.tries(list(zip(settings.strengths, counts, strict=True)), [2 * count for count in counts]):
        rest = steps[len(steps) - count :]
        rows = victim.affordable(victim.standing, 2 * count)
        if not rows:
            break
        asked = victim.asked(rows)
        z = ddim.noised(victim.targets(rows), victim.noise(rows, strength), rest[0].abar)
        parts = [ddim.finish(model, z[part], rest, empty, asked[part]) for part in victim.batches(len(rows))]
        hits = victim.submit(rows, torch.cat(parts), {"strength": strength})
        shown[f"{strength:g}"] = [sum(hits), len(rows)]
    victim.facts["shown of tried, by strength"] = shown
