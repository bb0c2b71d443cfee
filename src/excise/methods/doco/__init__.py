"""DoCo: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Anchored
from excise.methods import Method
from excise.registry import Door

Surgery = Literal["projection", "released", "none"]


_PAPER = {"wording": "name", "rounds": 27, "steps": 37, "warm_up": 1001, "batch": 8, "lr": 4.8e-5, "schedule": "constant"} | {
    "critic_lr": 1e-4, "surgery": "released", "entangled": True, "pictures": 1000, "picture_steps": 25, "picture_guidance": 6.0
}  # fmt: skip


class DocoSettings(Anchored):
    """Published values are presets for Stable Diffusion 1.x (lr as it was used, 6e-6 x batch 8); the defaults are for the canvas.

    The anchor and captions of an instance are the user's to choose: "airplane" for parachutes. The authors' augmentation (rescaled and
    mirrored pictures) is left out.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "style": {**_PAPER, "critic_lr": 5e-4, "anchor": "painting"},
        "instance": _PAPER,
        "nudity": {**_PAPER, "anchor": "clothed"},
    }

    parameters: Literal["kv", "full"] = Field("kv", description="which weights may change")
    lr: float = Field(5e-4, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    clip: float | None = Field(1.0, gt=0, description="largest norm of each of the two gradients before surgery")
    warm_up: int = Field(80, ge=0, description="steps of the critic alone, before")
    critic_lr: float = Field(2e-4, gt=0, description="learning rate of the critic (Adam)")
    surgery: Surgery = Field(
        "projection",
        description="where the gradient conflicts with the anchor's: project it (text), turn it further (code), or leave it",
    )
    surgery_strength: float = Field(1.0, ge=0, description="lambda_s: 1 as published, 0 no surgery")
    entangled: bool = Field(False, description="critic's steps also carry the adversarial gradient, as in the authors' code")


METHOD = Method(
    "doco",
    title="DoCo",
    paper="arXiv 2405.15304",
    settings=DocoSettings,
    run=Door("excise.methods.doco.erase", "erase"),
    needs=("entrances",),
)
