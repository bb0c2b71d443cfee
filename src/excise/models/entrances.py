"""Where words enter a network, and how a prompt lies in the rows that enter there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Way = Literal["tokens", "pooled"]
"""Ways in for words: the tokens, or one row for the whole prompt."""


@dataclass(frozen=True)
class Entrance:
    """A linear map that reads text and no picture.

    weight canonical name of its weight (out, in), such as "unet.….to_k.weight"; where `in` is more than the text's width, the first columns
           read the text (SDXL's `add_embedding` also reads the picture's size)
    reads  the part of the conditioning that feeds it

    A weight W (I + D) at all entrances of one way does what its rows mapped by I + D would do.
    """

    weight: str
    reads: Way


@dataclass(frozen=True)
class Segment:
    """Those of a prompt's rows that a text encoder made at once; a prompt that two of them read may have two, one after the other, and a long
    one that is read in chunks one for each chunk.

    start, stop its rows, stop not included: what begins every prompt, the prompt's own tokens, what ends it, padding that is read
    first       row of the first of the prompt's own tokens
    ids         the prompt's own tokens, one a row from `first` on
    """

    start: int
    first: int
    ids: tuple[int, ...]
    stop: int

    @property
    def last(self) -> int:
        """Row of the last of the prompt's own tokens; of an empty prompt the row before, or the first row if there is none."""
        return max(self.first + len(self.ids) - 1, self.start)

    @property
    def end(self) -> int:
        """Row after the prompt's own tokens."""
        return self.first + len(self.ids)
