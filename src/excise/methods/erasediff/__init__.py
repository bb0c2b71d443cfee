"""EraseDiff: forgetting as a constraint on fine-tuning with what is kept (arXiv 2401.05779): what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Relabelling
from excise.methods import Method
from excise.registry import Door

_PAPER = {"wording": "name", "steps": 40, "batch": 16, "lr": 1e-5, "schedule": "constant", "pseudo": "a photo of a pokemon"} | {
    "pictures": 800, "retained": 800
}  # fmt: skip


class EraseDiffSettings(Relabelling):
    """Published values are presets for Stable Diffusion 1.x (160 and 60 steps, as the authors advise); the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "nudity": {**_PAPER, "parameters": "noxattn", "rounds": 4, "retain": ("a photo of a person wearing clothes",)},
        "class": {**_PAPER, "parameters": "full", "rounds": 2, "steps": 30},
    }

    lr: float = Field(3e-5, gt=0, description="learning rate of Adam")
    parameters: Literal["full", "noxattn", "attn2", "kv"] = Field("full", description="which weights may change")
    multiplier: float = Field(1.0, ge=0, description="lambda: weight of forgetting against keeping, with balance=fixed")
    balance: Literal["fixed", "cosine", "bome"] = Field(
        "fixed",
        description="lambda: fixed (as run by the authors), max(0, eta - cos of the two gradients), or the bilevel rule of arXiv 2209.08709",
    )
    eta: float = Field(0.5, gt=0, description="how fast forgetting must fall, for the last two")
    inner_steps: int = Field(
        2,
        ge=0,
        description="balance=bome: K steps of forgetting alone that look ahead to its minimum (else that is a constant)",
    )


METHOD = Method(
    "erasediff",
    title="EraseDiff",
    paper="arXiv 2401.05779",
    settings=EraseDiffSettings,
    run=Door("excise.methods.erasediff.erase", "erase"),
    needs=(),
)
