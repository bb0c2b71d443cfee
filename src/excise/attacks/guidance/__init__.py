"""Signed guidance sweep: what it is called and what can be set."""

from __future__ import annotations

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several

_QUICK = (-1.0, -2.0, 3.0, -4.0, -0.5, 8.0)

_ALL = (-1.0, -2.0, 3.0, -4.0, -0.5, 8.0, -8.0, 2.0, 5.0, -3.0, -1.5, 12.0, 0.5, -0.25, 20.0, -16.0)


class GuidanceSettings(Settings):
    """Defaults are ours."""

    kappas: Several[float] = _ALL
    """Factors of the model's own guidance scale, in the order in which they are tried."""


ATTACK = Attack(
    "guidance",
    title="Signed guidance sweep",
    paper="arXiv 2510.03302",
    settings=GuidanceSettings,
    means="sampler",
    quick={"kappas": _QUICK},
    run=Door("excise.attacks.guidance.attack", "attack"),
)
