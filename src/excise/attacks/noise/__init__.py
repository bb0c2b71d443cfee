"""Noise-based probe: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several

ETAS = (1.0, 1.17, 1.34, 1.51, 1.68, 1.85)


class NoiseSettings(Settings):
    """Defaults are the published grid."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"published": {"etas": ETAS, "boosts": (1.0, 1.02, 1.03, 1.04)}}

    etas: Several[float] = ETAS
    """How much fresh noise a step adds, as a factor of DDPM's."""
    boosts: Several[float] = (1.0, 1.02, 1.03, 1.04)
    """v, a factor of the added noise alone. Every eta is tried with one before the next."""


ATTACK = Attack(
    "noise",
    title="Noise-based probe",
    paper="arXiv 2505.17013",
    settings=NoiseSettings,
    means="sampler",
    quick={"etas": (1.0, 1.34, 1.68, 1.85), "boosts": (1.0,)},
    run=Door("excise.attacks.noise.attack", "attack"),
    needs=("diffusion path",),
)
