"""Where words enter a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Entrance:
    """A linear map that reads text and no picture.

    weight canonical name of its weight (out, width), such as "unet.….to_k.weight"
    reads  the part of the conditioning that feeds it

    A weight W (I + D) at all entrances of the tokens does what the tokens mapped by I + D would do.
    """

    weight: str
    reads: Literal["tokens", "pooled"]
