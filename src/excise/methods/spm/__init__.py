"""SPM: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Visiting
from excise.methods import Method
from excise.registry import Door


class SpmSettings(Visiting):
    """Published values are the preset for Stable Diffusion 1.x; the defaults are for the canvas."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "wording": "name", "states": "fresh", "rounds": 30, "steps": 100, "batch": 1, "lr": 1e-4, "weight_decay": 1e-2,
            "sampler_steps": 30, "guidance_scale": 3.0, "anchors": 4, "interleaved": True, "anchor_weight": 1000.0,
            "transport": "cosine", "empty_strength": "prompt",
        },
    }  # fmt: skip

    eta: float = Field(
        1.0, description="strength of the negative guidance that is aimed at; 0 aims at the empty prompt's prediction"
    )
    anchors: int = Field(8, ge=0, description="random conditionings in a step on which the adapter must do nothing")
    interleaved: bool = Field(
        False,
        description="every second of those is the empty prompt, beginning with the first: what the authors' batch comes to",
    )
    anchor_weight: float = Field(10.0, ge=0, description="weight of that")
    transport: Literal["calibrated", "cosine", "off"] = Field(
        "calibrated",
        description="strength: probability that the prompt names the concept (ours), its cosine with the phrases (published), or always 1",
    )
    empty_strength: Literal["own", "prompt"] = Field(
        "own",
        description="strength on the empty prompt, from which guidance starts: its own, as of any prompt (ours), or that of the prompt "
        "that guidance leads to (published)",
    )


METHOD = Method(
    "spm",
    title="SPM",
    paper="arXiv 2312.16145",
    shares=True,
    settings=SpmSettings,
    run=Door("excise.methods.spm.erase", "erase"),
    kind="adapter",
    needs=("U-Net",),
)
