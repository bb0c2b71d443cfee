"""Concept Ablation: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Anchored, Divergent
from excise.methods import Method
from excise.registry import Door

_PAPER = {"rounds": 1, "steps": 100, "batch": 8, "lr": 1.6e-5, "schedule": "constant", "weight_decay": 1e-2, "clip": 1.0} | {
    "pictures": 1000, "picture_steps": 25, "picture_guidance": 6.0
}  # fmt: skip

_NUDITY = {"parameters": "attn", "lr": 6.4e-5, "rounds": 4, "prior_weight": 1.0}

_F_DMU = {**_PAPER, "rounds": 5, "batch": 4, "lr": 2.8e-4, "clip": None, "teacher": "base", "divergence": "hellinger"}


class CaSettings(Anchored, Divergent):
    """Published values are presets for Stable Diffusion 1.x; the defaults are for the canvas.

    Rates are as they were used: 2e-6 x batch 4 x 2 GPUs, and twice that where there is a prior.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": _PAPER,
        "nudity": {**_PAPER, **_NUDITY},
        "memorised": {**_PAPER, "parameters": "full", "lr": 4e-6, "rounds": 4, "batch": 4, "prior_weight": 1.0},
        "f-dmu": _F_DMU,
    }

    variant: Literal["model", "noise"] = Field("model", description="target: the anchor's prediction, or the noise itself")
    teacher: Literal["current", "base"] = Field(
        "current", description="whose prediction the anchor's is: the model as trained so far (published), or the base (f-DMU)"
    )
    lr: float = Field(3e-4, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    parameters: Literal["kv", "attn", "full"] = Field("kv", description="which weights may change")
    prior_weight: float = Field(0.0, ge=0, description="weight of the ordinary training loss on the anchor's pictures")


METHOD = Method(
    "ca",
    title="Concept Ablation",
    paper="arXiv 2303.13516",
    settings=CaSettings,
    run=Door("excise.methods.ca.erase", "erase"),
    needs=("entrances",),
)
