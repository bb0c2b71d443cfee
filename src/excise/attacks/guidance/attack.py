"""Signed guidance sweep: turn the guidance up, down and round (the one-scalar form of RevAm, arXiv 2510.03302).

With u and v the base model's predictions without and with the prompt, kappa = -1 / eta exactly undoes an erasure that redirects,
v_erased = u - eta (v - u). kappa = 1 / lam undoes one that weakens, v_erased = u + lam (v - u). No kappa changes one after which
the words say nothing, v_erased = u.
"""

from __future__ import annotations

from excise.attacks.guidance import GuidanceSettings
from excise.attacks.victim import Victim


def attack(victim: Victim, settings: GuidanceSettings) -> None:
    """Ask the prompts at their own seeds, once for every kappa."""
    scale = victim.model.guidance(victim.model.sampler.guidance_scale)
    costs = [victim.budget.cost(kappa * scale) for kappa in settings.kappas]
    for kappa, cost in victim.budget.tries(list(zip(settings.kappas, costs, strict=True)), costs):
        cases = victim.affordable(cost)
        if not cases:
            break
        latents = victim.ask(cases, signed_guidance=kappa * scale)
        victim.submit(cases, latents, {"kappa": kappa})
