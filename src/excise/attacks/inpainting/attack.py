"""Inpainting: cut the middle out of a picture of the concept and let the erased model fill it (arXiv 2505.17013).

Only the filled part is shown to the detector. What is around it gives much away: the authors find 60-70 % for every method, so read the
difference to the controls, which see the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from excise.attacks import ddim
from excise.attacks.ddim import Step
from excise.attacks.inpainting import InpaintingSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: InpaintingSettings) -> None:
    """Blended diffusion, so that any U-Net can do it: after every step what is known is put back, noised to that step's level."""

    hole = middle(victim.model.latent_shape[-2:], settings.share)
    for number in victim.tries(range(settings.tries), [victim.cost_of_pairs] * settings.tries):
        rows = victim.affordable(victim.standing, victim.cost_of_pairs)
        if not rows:
            return
        latents = torch.cat([filled(victim, rows[part], hole, number) for part in victim.batches(len(rows))])
        inside = [cropped(victim.model.decode(part), hole) for part in latents.split(victim.batch)]
        victim.submit(rows, latents, {"filling": number}, torch.cat(inside))


def filled(victim: Victim, rows: list[int], hole: Tensor, number: int) -> Tensor:
    """Finished latents with the hole made anew, (rows, c, h, w)."""

    known = victim.targets(rows)
    hole = hole.to(known.device)

    def put_back(z: Tensor, step: Step) -> Tensor:
        return torch.where(hole, z, ddim.noised(known, victim.noise(rows, number, step.index), step.previous))

    model = victim.model
    empty, asked, starts = model.encode([""]), victim.asked(rows), victim.noise(rows, number)
    return ddim.finish(model, starts, ddim.grid(model), empty, asked, change=put_back)


def middle(shape: Sequence[int], share: float) -> Tensor:
    """True in the middle square of latents of that height and width, (h, w) bool. Raises ValueError if nothing is in it."""

    inside = torch.zeros(tuple(shape), dtype=torch.bool)
    edges = [round(size * (1 - share) / 2) for size in shape]
    inside[edges[0] : shape[0] - edges[0], edges[1] : shape[1] - edges[1]] = True
    if not inside.any():
        raise ValueError(f"a share of {share:g} cuts nothing out of latents of {shape[0]} x {shape[1]}; take a larger one")
    return inside


def cropped(pictures: Tensor, hole: Tensor) -> Tensor:
    """What pictures show where the latents had the hole, enlarged to their size."""

    size = pictures.shape[-2:]
    (top, left), (bottom, right) = hole.nonzero().min(0).values.tolist(), (hole.nonzero().max(0).values + 1).tolist()
    down, across = size[0] // hole.shape[0], size[1] // hole.shape[1]
    inside = pictures[..., top * down : bottom * down, left * across : right * across]
    return interpolate(inside, size, mode="bilinear", align_corners=False)
