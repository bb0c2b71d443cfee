"""Forget-Me-Not: take the attention away from the concept's words (arXiv 2303.17591): what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Pictured
from excise.methods import Method
from excise.registry import Door


class FmnSettings(Pictured):
    """Published values are the preset (for Stable Diffusion 2.1); the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "wording": "name", "rounds": 1, "steps": 35, "batch": 1, "lr": 2e-6, "schedule": "constant", "weight_decay": 1e-2,
            "pictures": 8, "end_token": True,
        },
    }  # fmt: skip

    lr: float = Field(3e-5, gt=0, description="learning rate of Adam")
    parameters: Literal["full", "attn2"] = Field("full", description="which weights may change")
    end_token: bool = Field(False, description="also the attention to the end token, which has read the whole prompt")


METHOD = Method(
    "fmn",
    title="Forget-Me-Not",
    paper="arXiv 2303.17591",
    settings=FmnSettings,
    run=Door("excise.methods.fmn.erase", "erase"),
    needs=("attention maps",),
)
