"""Classifier guidance: pull the sampler to where a classifier of noised latents sees the concept (arXiv 2505.17013).

A step changes epsilon to epsilon - s sqrt(1 - abar) grad log p(concept | z_t, t). The classifier is trained on the base model's
pictures; the erased model only has to know what such pictures look like.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from excise.attacks import ddim
from excise.attacks import probe as probes
from excise.attacks.asking import batches, encode
from excise.attacks.cases import Case
from excise.attacks.classifier_guidance import ClassifierSettings
from excise.attacks.probe import Probe
from excise.attacks.victim import Victim

FAINT = 1e-3
"""Below this abar the latents are noise, in which the classifier sees nothing, and x = (z - sigma e) / alpha would blow an error up."""


def attack(victim: Victim, settings: ClassifierSettings) -> None:
    """Ask the prompts from their own noise, once for every scale and eta. The best of all counts, as published."""
    probe = probes.of_concept(
        victim, positives=settings.positives, negatives=settings.negatives, steps=settings.steps, batch=settings.batch,
        lr=settings.lr, power=1 / 3,
    )  # fmt: skip
    grid = [(scale, eta) for eta in settings.etas for scale in settings.scales]
    cost = victim.budget.cost_of_pairs
    for scale, eta in victim.budget.tries(grid, [cost] * len(grid)):
        cases = victim.affordable(cost)
        if not cases:
            break
        victim.submit(cases, pulled(victim, cases, probe, scale, eta), {"scale": scale, "eta": eta})


def pulled(victim: Victim, cases: Sequence[Case], probe: Probe, scale: float, eta: float = 0.0) -> Tensor:
    """Finished latents of these cases, (cases, c, h, w)."""
    model = victim.model
    empty, asked, finished = model.unconditional(), encode(model, [case.asked for case in cases]), []
    for part in batches(model, len(cases)):
        z = model.start_noise([case.seed for case in cases[part]])
        for step in ddim.grid(model):
            with torch.no_grad():
                without, with_ = ddim.both(model, z, step.t, empty, asked[part])
            output, t = model.guided(without, with_, model.guidance(model.sampler.guidance_scale)), torch.tensor([step.t])
            epsilon, x = model.path.to_noise(output, z, t), model.path.to_x0(output, z, t)
            if step.abar > FAINT:
                pull = scale * (1 - step.abar) ** 0.5 * gradient(probe, z, step.abar)
                epsilon, x = epsilon - pull, x + (1 - step.abar) ** 0.5 / step.abar**0.5 * pull
            noise = victim.draws.noise(cases[part], scale, eta, step.index) if eta else None
            z = ddim.advance(x, epsilon, step, eta=eta, noise=noise)
        finished.append(z)
    return torch.cat(finished)


def gradient(probe: Probe, z: Tensor, abar: float) -> Tensor:
    """Gradient of log p(concept | z) with respect to the latents, of the shape of z."""
    with torch.enable_grad():
        moved = z.detach().float().cpu().requires_grad_(True)
        (found,) = torch.autograd.grad(probe.log_likely(moved, abar).sum(), moved)
    return found.to(z)
