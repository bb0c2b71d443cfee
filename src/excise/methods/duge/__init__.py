"""DUGE: unlearn by cross-attention maps, request after request, without erosion of the rest (arXiv 2503.13769): what can be set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from excise.erasure.prompt_settings import Retain
from excise.erasure.training_settings import Pictured
from excise.methods import Method
from excise.registry import Door


class DugeSettings(Pictured):
    """No code of the authors is public, and the paper's settings are not known to us: all values are ours, for the canvas."""

    lr: float = Field(1e-3, gt=0, description="learning rate of Adam")
    parameters: Literal["kv", "attn2"] = Field("kv", description="which weights may change")
    target: Literal["null", "negated", "anchor"] = Field(
        "null", description="maps to learn: the empty prompt's, the same led away from the concept's, or another prompt's"
    )
    eta: float = Field(1.0, ge=0, description="target=negated: how far away; 0 is null")
    anchor: str = Field(
        "next",
        description="target=anchor: next (declared concept), masked, or a phrase; prompts with other token positions learn null",
    )
    columns: Literal["all", "words"] = Field(
        "all",
        description="attention that is compared: to all tokens, or to the concept's words and what comes after the prompt",
    )
    unlearn_weight: float = Field(
        100.0,
        ge=0,
        description="of the map loss: its gradient is at first so many times as long as that of the ordinary training loss",
    )
    prior: Retain = Field(
        "catalog", description='related concepts: catalog (declared ones of the same kind), masked, or "a dog; a house"'
    )
    prior_pictures: int = Field(128, ge=1, description="pictures of related concepts")
    prior_loss: Literal["denoising", "distilled"] = Field(
        "denoising", description="what they teach: the ordinary training loss, or the reference's predictions"
    )
    prior_weight: float = Field(1.0, ge=0, description="of the prior-preservation loss")
    memory: Retain = Field(
        "catalog", description='generic prompts: catalog (declared concepts of other kinds), masked, or "a dog; a house"'
    )
    memory_pictures: int = Field(128, ge=1, description="pictures in the memory")
    memory_weight: float = Field(1.0, ge=0, description="of keeping the reference's predictions on the memory")
    drift_weight: float = Field(0.0, ge=0, description="gamma: of the mean square of what trained weights moved")
    reference: Literal["previous", "base"] = Field(
        "previous",
        description="the frozen model: as it was given, or without the edits on it, whose concepts are then taught again",
    )
    pictures_by: Literal["base", "current"] = Field(
        "base", description="who makes the pictures: the model without the edits that are on it, or with them"
    )


METHOD = Method(
    "duge",
    title="DUGE",
    paper="arXiv 2503.13769",
    settings=DugeSettings,
    run=Door("excise.methods.duge.erase", "erase"),
    needs=("attention maps",),
)
