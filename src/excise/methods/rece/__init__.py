"""RECE: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.prompt_settings import ARTISTS, Redirecting
from excise.methods import Method
from excise.registry import Door

_UNCOND = {"wording": "name", "guide": " ", "base_preserve_weight": 1.0}

_ARTIST = {"wording": "name", "guide": "art", "base_preserve_weight": 0.1, "preserve": ARTISTS}


class ReceSettings(Redirecting):
    """Defaults of the numbers are the authors' for nudity; wording and guide follow the model's own templates (ours)."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "nudity": {**_UNCOND, "regeneration_ridge": 1e-1, "rounds": 3, "keep_empty": "per-concept"},
        "unsafe": {**_UNCOND, "regeneration_ridge": 1e-1, "rounds": 2, "keep_empty": "per-concept"},
        "artist": {**_ARTIST, "regeneration_ridge": 1e-3, "rounds": 1},
        "object": {**_UNCOND, "regeneration_ridge": 1e-1, "rounds": 1},
        "object-hard": {**_UNCOND, "regeneration_ridge": 1e-3, "rounds": 1},
    }

    rounds: int = Field(3, ge=0, description="how often the embedding is found and sent away; 0 is plain UCE")
    regeneration_ridge: float = Field(
        1e-1, gt=0, description="lambda_r: keeps the found embedding short; larger erases and harms less"
    )
    ridge: float = Field(0.1, gt=0, description="lambda of the edits that follow")
    erase_weight: float = Field(1.0, gt=0, description="e: weight of an edited row")
    preserve_weight: float = Field(0.1, ge=0, description="p: weight of a held row in the edits that follow")
    tokens: Literal["all", "aligned", "concept"] = Field(
        "all", description="rows of a prompt that are regenerated: all, as published, or as in uce"
    )
    keep_empty: Literal["once", "per-concept"] = Field(
        "once", description="hold the empty prompt once, or as often as there are concepts (nudity, unsafe)"
    )
    base: Literal["uce", "scratch"] = Field("uce", description="start from a UCE edit, or from the model as it is")
    base_tokens: Literal["last", "aligned", "concept"] = Field("aligned", description="rows that the UCE edit changes")
    base_ridge: float = Field(0.5, gt=0, description="lambda of the UCE edit")
    base_preserve_weight: float = Field(1.0, ge=0, description="p of the UCE edit")


METHOD = Method(
    "rece",
    title="RECE",
    paper="arXiv 2407.12383",
    settings=ReceSettings,
    run=Door("excise.methods.rece.erase", "erase"),
    solves=True,
    needs=("entrances",),
)
