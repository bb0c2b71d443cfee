"""SDD: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Visiting
from excise.methods import Method
from excise.registry import Door


class SddSettings(Visiting):
    """Published values are the preset for Stable Diffusion 1.x; the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "wording": "name", "states": "fresh", "rounds": 15, "steps": 100, "batch": 1, "lr": 1e-5, "schedule": "constant",
            "weight_decay": 1e-4, "clip": 1.0, "sampler_steps": 50, "guidance_scale": 3.0, "within_bin": True, "decay": 0.999,
            "joined": "states",
        },
    }  # fmt: skip

    lr: float = Field(3e-4, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    parameters: Literal["attn2", "kv", "full"] = Field(
        "attn2", description="which weights may change; kv for attn2 where a model has no cross-attention"
    )
    decay: float = Field(
        0.99, ge=0, le=1, description="of the average (teacher): its weight of the past after every step; published 0.999"
    )
    output: Literal["teacher", "student"] = Field(
        "teacher", description="what the edit holds; the teacher still has decay^steps of the base in it"
    )
    joined: Literal["none", "states", "student"] = Field(
        "none",
        description="several concepts: which prompt is all names in one, the states' (the authors' code) or the one taught (their text)",
    )


METHOD = Method(
    "sdd",
    title="SDD",
    paper="arXiv 2307.05977",
    shares=True,
    settings=SddSettings,
    run=Door("excise.methods.sdd.erase", "erase"),
    needs=("entrances",),
)
