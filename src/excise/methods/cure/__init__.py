"""CURE: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.prompt_settings import Retain, Wording
from excise.methods import Method
from excise.registry import Door
from excise.settings import Settings

_PUBLISHED = {"retain": (), "centre": "none"}


class CureSettings(Settings):
    """Numbers as reported of the paper; token selection, retain set and centring, which it leaves open, are ours."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "object": {**_PUBLISHED, "alpha": 2.0},
        "artist": {**_PUBLISHED, "alpha": 2.0},
        "identity": {**_PUBLISHED, "alpha": 2.0},
        "nudity": {**_PUBLISHED, "alpha": 5.0},
    }

    alpha: float = Field(2.0, ge=1, description="expansion: 1 takes a direction out by its share of the energy, 1e9 all of it")
    wording: Wording = Field("templates", description="forget prompts: the name, every phrase, or those in every template")
    tokens: Literal["content+end", "content", "mean", "end", "all"] = Field(
        "content+end", description="rows of a prompt: its words and the end token, its words, their mean, the end token, or all"
    )
    retain: Retain = Field(
        "masked",
        description='prompts whose directions stay: masked (the forget prompts without the words, and ""), catalog, a list, none',
    )
    centre: Literal["none", "mean", "project"] = Field(
        "none", description="take the common mean (of the retain rows, if any) off the rows, or its direction out of them"
    )
    compose: Literal["joint", "sequential"] = Field(
        "joint", description="several concepts: one spectrum of all, or one projection after the other"
    )


METHOD = Method(
    "cure",
    title="CURE",
    paper="arXiv 2505.12677",
    settings=CureSettings,
    run=Door("excise.methods.cure.erase", "erase"),
    solves=True,
    needs=("entrances",),
)
