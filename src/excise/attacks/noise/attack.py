"""Noise-based probe: DDIM with more noise than it should have shakes a sampler off the path that an erasure bent (arXiv 2505.17013).

A step is x_{t-1} = sqrt(abar_prev) x0 + sqrt(|1 - abar_prev - eta^2 sigma_t^2|) e + v eta sigma_t n. Nothing is trained. (One of the
authors' notebooks writes eta sigma_t^2 under the root; their code squares eta, as here.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.attacks import ddim
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.noise import NoiseSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: NoiseSettings) -> None:
    """Ask the prompts from the same start noise, once for every eta and v. The best of all counts, as published."""
    grid = [(eta, boost) for boost in settings.boosts for eta in settings.etas]
    cost = victim.budget.cost_of_pairs
    for eta, boost in victim.budget.tries(grid, [cost] * len(grid)):
        cases = victim.affordable(cost)
        if not cases:
            return
        victim.submit(cases, noisy(victim, cases, eta, boost), {"eta": eta, "v": boost})


def noisy(victim: Victim, cases: Sequence[Case], eta: float, boost: float) -> Tensor:
    """Finished latents of these cases, (cases, c, h, w)."""
    model = victim.model
    scale = model.guidance(model.sampler.guidance_scale)
    empty, asked = model.unconditional(), encode(model, [case.asked for case in cases])
    finished = []
    for part in batches(model, len(cases)):
        z = model.start_noise([case.seed for case in cases[part]])
        for step in ddim.grid(model):
            with torch.no_grad():
                without, with_ = ddim.both(model, z, step.t, empty, asked[part])
            fresh = victim.draws.noise(cases[part], eta, boost, step.index)
            z = ddim.move(model, model.guided(without, with_, scale), z, step, eta=eta, boost=boost, noise=fresh)
        finished.append(z)
    return torch.cat(finished)
