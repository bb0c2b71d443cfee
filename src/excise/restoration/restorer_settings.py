"""How a restorer is built. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from excise.settings import Settings, Several


class RestorerSettings(Settings):
    """Sizes of a restorer's networks; the defaults are the paper's for Stable Diffusion (arXiv 2305.07015, and its configuration)."""

    width: int = Field(256, ge=4, le=1024, multiple_of=4, description="channels of the time-aware encoder at its first level")
    multipliers: Several[int] = Field(
        (1, 1, 2, 2), min_length=1, max_length=8, description="of the width, by level; the last for further ones"
    )
    blocks: int = Field(2, ge=1, le=8, description="residual blocks of each level of the encoder")
    heads: int = Field(4, ge=0, le=32, description="of attention in the encoder; 0: none")
    features: int = Field(256, ge=4, le=1024, description="channels of the maps that the encoder gives to the modulation")
    hidden: int = Field(128, ge=1, le=1024, description="channels inside a modulation")
    norm: Literal["none", "group"] = Field(
        "none",
        description="what is modulated: what a block computes (none), so that a fresh restorer changes nothing, or its group norm, as "
        "released",
    )
    levels: Several[int] = Field(
        (1, 2), description="levels of the decoder at which the low picture is wrapped in; 0 is the picture's own"
    )
    dense: int = Field(2, ge=0, le=8, description="residual-in-residual dense blocks of each such level")
    growth: int = Field(32, ge=1, le=256, description="channels that each convolution of a dense block adds")
