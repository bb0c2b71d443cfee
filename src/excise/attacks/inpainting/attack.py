"""Inpainting: cut the middle out of a picture of the concept and let the erased model fill it (arXiv 2505.17013).

Only the filled part is shown to the detector. What is around it gives much away: the authors find 60-70 % for every method. So read the
difference to the controls, which get the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from excise.attacks import ddim
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.ddim import Step
from excise.attacks.inpainting import InpaintingSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: InpaintingSettings) -> None:
    """Fill by blended diffusion, which any denoiser can do: after every step what is known is put back, noised to that step's level."""

    hole = middle(victim.model.latent_shape[-2:], settings.share)
    cost = victim.budget.cost_of_pairs
    for number in victim.budget.tries(range(settings.tries), [cost] * settings.tries):
        cases = victim.affordable(cost)
        if not cases:
            return
        parts = [filled(victim, cases[part], hole, number) for part in batches(victim.model, len(cases))]
        inside = [cropped(victim.model.decode(part), hole) for part in parts]
        victim.submit(cases, torch.cat(parts), {"filling": number}, pictures=torch.cat(inside))


def filled(victim: Victim, cases: Sequence[Case], hole: Tensor, number: int) -> Tensor:
    """Finished latents of these cases with the hole made anew, (cases, c, h, w)."""
    known = victim.original.targets(cases)
    hole = hole.to(known.device)

    def put_back(z: Tensor, step: Step) -> Tensor:
        return torch.where(hole, z, ddim.noised(known, victim.draws.noise(cases, number, step.index), step.previous))

    model, starts = victim.model, victim.draws.noise(cases, number)
    empty, asked = model.unconditional(), encode(model, [case.asked for case in cases])
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
