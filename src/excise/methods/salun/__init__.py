"""SalUn: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Relabelling
from excise.methods import Method
from excise.registry import Door

_PAPER = {"wording": "name", "batch": 8, "lr": 1e-5, "schedule": "constant", "steps": 100, "pictures": 800, "retained": 800}


class SalUnSettings(Relabelling):
    """Published values are presets for Stable Diffusion 1.x (epochs of 800 pictures); the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "nudity": {**_PAPER, "rounds": 1, "retain_weight": 0.1, "retain": ("a photo of a person wearing clothes",)}
        | {"pseudo": "a photo of a person wearing clothes"},
        "class": {**_PAPER, "rounds": 5, "retain_weight": 0.5},
    }

    lr: float = Field(3e-5, gt=0, description="learning rate of Adam (no weight decay: it would move masked weights)")
    weight_decay: float = Field(0.0, ge=0, le=0, description="always 0")
    parameters: Literal["full", "attn2", "kv"] = Field("full", description="weights that the mask chooses from")
    density: float = Field(0.5, gt=0, le=1, description="share of the weights that the mask lets change")
    mask_guidance: float = Field(7.5, ge=0, description="guidance of the predictions that the mask is computed with")
    retain_weight: float = Field(0.5, ge=0, description="alpha: weight of the ordinary training loss on what to keep")


METHOD = Method(
    "salun",
    title="SalUn",
    paper="arXiv 2310.12508",
    settings=SalUnSettings,
    run=Door("excise.methods.salun.erase", "erase"),
    needs=(),
)
