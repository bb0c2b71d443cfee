"""ESD: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from excise.erasure.training_settings import Divergent, Visiting
from excise.methods import Method
from excise.registry import Door

_PAPER = {"wording": "name", "states": "fresh", "rounds": 10, "steps": 100, "batch": 1, "lr": 1e-5, "schedule": "constant"} | {
    "sampler_steps": 50, "guidance_scale": 3.0, "within_bin": True
}  # fmt: skip

_REWRITE = {**_PAPER, "steps": 20, "lr": 5e-5, "within_bin": False, "sampler": "base", "convention": "rewrite", "eta": 2.0}


_FLUX = {**_REWRITE, "steps": 140, "lr": 1e-4, "sampler_steps": 28, "guidance_scale": 3.5, "eta": 1.0}


class EsdSettings(Visiting, Divergent):
    """Published values are presets for Stable Diffusion 1.x, and two for FLUX.1; the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {**_PAPER, "variant": "x"},
        "paper-u": {**_PAPER, "variant": "u"},
        "rewrite": {**_REWRITE, "variant": "x"},
        "rewrite-strict": {**_REWRITE, "variant": "x-strict"},
        "flux": {**_FLUX, "variant": "x"},
        "flux-strict": {**_FLUX, "variant": "x-strict"},
        "alt": {**_REWRITE, "variant": "all", "sampler": "student", "lr": 2e-5, "convention": "paper"},
    }

    lr: float = Field(1e-4, gt=0, description="learning rate of Adam, as it is used (batch and number of GPUs do not scale it)")
    variant: Literal["x", "u", "x-strict", "text-qk", "all"] = Field(
        "x",
        description="what may change: cross-attention, the rest but for the time embedding and the last block, keys and values alone, or all; "
        "of a transformer x is attention between pictures and text, it has no u, and text-qk is queries and keys of the text (as "
        "EraseAnything trains, arXiv 2412.20413)",
    )
    eta: float = Field(1.0, description="strength of the negative guidance; 0 aims at the empty prompt's prediction")
    convention: Literal["paper", "rewrite"] = Field(
        "paper",
        description="the guidance starts from the empty prompt, or from the concept's own: rewrite needs an eta larger by 1",
    )
    erase_from: str | None = Field(
        None, description="convention=rewrite: teach this prompt instead of the concept's, and start from its prediction"
    )
    sampler: Literal["student", "base"] = Field("student", description="whose states: the model as trained so far, or the base")

    @model_validator(mode="after")
    def _consistent(self) -> EsdSettings:
        if self.erase_from is not None and self.convention != "rewrite":
            raise ValueError("erase_from belongs to convention=rewrite; give both")
        return self


METHOD = Method(
    "esd",
    title="ESD",
    paper="arXiv 2303.07345",
    shares=True,
    settings=EsdSettings,
    run=Door("excise.methods.esd.erase", "erase"),
    needs=("entrances",),
)
