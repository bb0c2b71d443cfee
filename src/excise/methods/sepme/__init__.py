"""SepME: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.prompt_settings import Preserve
from excise.erasure.training_settings import Pictured
from excise.methods import Method
from excise.registry import Door

_PAPER = {"wording": "name", "rounds": 20, "steps": 50, "batch": 1, "lr": 0.1, "schedule": "constant", "pictures": 1000} | {
    "beta": 1e-4, "l1": 1e-6, "tau": 1e-4, "tau_unit": "absolute", "accumulate": True
}  # fmt: skip


class SepmeSettings(Pictured):
    """Published values are presets for Stable Diffusion 1.x; the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": _PAPER,
        "nudity": {**_PAPER, "variant": "whole", "lr": 1e-5, "tau": 0.0, "l1": 1e-5},
    }

    variant: Literal["separate", "joint", "whole"] = Field(
        "separate",
        description="one concept after the other, all at once, or all attn2 weights without null spaces (not restorable)",
    )
    protect: Preserve = Field((), description='prompts that no shift may touch: "a watermark; a house", none, or catalog')
    exact: Literal["name", "phrases", "plain"] = Field(
        "name",
        description="prompts of the other erased concepts that a shift may not touch: the plain name, every phrase, or the first template "
        "with every context (ours)",
    )
    tolerance: float = Field(
        1e-6,
        gt=0,
        lt=1,
        description="singular values below this share of the largest count as zero; larger frees more and leaks",
    )
    lr: float = Field(
        0.1, gt=0, description="learning rate of Adam on the coefficients; a weight moves by about beta times this"
    )
    schedule: Literal["cosine", "constant"] = Field("constant", description="learning rate: falling to zero, or constant")
    beta: float = Field(1e-2, gt=0, description="scale of a shift; published 1e-4")
    tau: float = Field(0.02, description="stop when the running mean of the loss is at most this")
    tau_unit: Literal["share", "absolute"] = Field(
        "share", description="of tau: share of what the loss was before training (ours), or the loss itself"
    )
    l1: float = Field(1e-6, ge=0, description="lambda: weight of the size of the shifts")
    accumulate: bool = Field(False, description="add up the gradients of all steps, as the authors' code does")


METHOD = Method(
    "sepme",
    title="SepME",
    paper="arXiv 2402.05947",
    settings=SepmeSettings,
    run=Door("excise.methods.sepme.erase", "erase"),
    needs=("entrances",),
)
