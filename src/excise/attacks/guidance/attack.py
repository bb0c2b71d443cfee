"""Signed guidance sweep: turn the guidance up, down and round (the one-scalar form of RevAm, arXiv 2510.03302).

An erasure that redirects, v_erased = u - eta (v - u), is undone exactly by guiding with kappa = -1 / eta; one that weakens, u +
lam (v - u), by kappa = 1 / lam; one after which the words say nothing, v_erased = u, is left as it is by every kappa.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.attacks import register
from excise.settings import Settings, Several

if TYPE_CHECKING:
    from excise.attacks.victim import Victim

_QUICK = (-1.0, -2.0, 3.0, -4.0, -0.5, 8.0)
_ALL = (-1.0, -2.0, 3.0, -4.0, -0.5, 8.0, -8.0, 2.0, 5.0, -3.0, -1.5, 12.0, 0.5, -0.25, 20.0, -16.0)


class GuidanceSettings(Settings):
    kappas: Several[float] = _ALL
    """Multiples of the model's own guidance scale, in the order in which they are tried (ours)."""


@register(
    "guidance", title="Signed guidance sweep", paper="arXiv 2510.03302", settings=GuidanceSettings, means="sampler",
    quick={"kappas": _QUICK},
)  # fmt: skip
def attack(victim: Victim, settings: GuidanceSettings) -> None:
    """The asked prompts at their own seeds, once for every kappa."""
    scale = victim.model.sampler.guidance_scale
    shown: dict[str, list[int]] = {}
    costs = [victim.cost(kappa * scale) for kappa in settings.kappas]
    for kappa, cost in victim.tries(list(zip(settings.kappas, costs, strict=True)), costs):
        rows = victim.affordable(victim.standing, cost)
        if not rows:
            break
        latents = victim.ask(rows, [victim.cases[row].asked for row in rows], guidance=kappa * scale)
        shown[f"{kappa:g}"] = [sum(victim.submit(rows, latents, {"kappa": kappa})), len(rows)]
    victim.facts["shown of tried, by kappa"] = shown
