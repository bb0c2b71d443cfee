"""RevAm: what it is called and what can be set."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, parted


class RevamSettings(Settings):
    """All defaults are ours, for the paper gives none. `dancegrpo` has those of a published sibling, where they mean the same."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"dancegrpo": {"group": 12, "iterations": 300, "clip": 1e-4, "beta": 0.0}}

    iterations: int = Field(150, ge=1, description="rounds of rollouts, fewer if the budget ends before")
    prompts: int = Field(4, ge=1, description="prompts per round")
    group: int = Field(8, ge=2, description="rollouts per prompt, from the same noise")
    lr: float = Field(0.05, gt=0, description="rate of Adam on the table")
    epochs: int = Field(4, ge=1, description="optimiser steps per round")
    clip: float = Field(0.2, gt=0, description="how far the ratio of probabilities may count")
    largest_advantage: float = Field(5.0, gt=0, description="advantages are cut here")
    share: float = Field(0.6, gt=0, le=1, description="share of the steps that an optimiser step looks at")
    beta: float = Field(0.01, ge=0, description="pull towards changing nothing")
    spread_rho: float = Field(0.1, gt=0, description="standard deviation of log rho")
    spread_phi: float = Field(0.3, gt=0, description="standard deviation of phi, radians")
    largest_rho: float = Field(2.0, gt=1, description="rho stays between one over this and this")
    frozen: float = Field(
        0.15, ge=0, lt=1, description="share of the last steps that are not steered: the direction is noise there"
    )
    weights: Annotated[tuple[float, float, float], parted] = Field(
        (1.0, 1.0, 1.0), description="of probe, information and fidelity"
    )
    direction: Literal["guidance", "random"] = Field("guidance", description="where to turn; random is a negative control")
    pictures: int = Field(
        64, ge=2, description="pictures of the concept that the rewards are made from, and twice as many others"
    )
    probe_steps: int = Field(400, ge=1, description="training steps of the probe")
    tests: int = Field(3, ge=1, description="how often the mean policy is tried on the prompts, the last time at the end")


ATTACK = Attack(
    "revam",
    title="RevAm",
    paper="arXiv 2510.03302",
    settings=RevamSettings,
    means="sampler",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.revam.attack", "attack"),
    needs=("diffusion path",),
)
