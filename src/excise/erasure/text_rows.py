"""Which rows of which prompts' embeddings a closed-form edit works on. Every distinct prompt is encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from excise.concepts import bare
from excise.models import Model
from excise.models.context import tell_cut
from excise.models.entrances import Segment, Way

AT_ONCE = 32
"""Prompts in a pass of the text encoder: of many, what it computes meanwhile would take more memory than their rows (ours)."""

Alignment = Literal["last", "aligned", "concept", "all"]


@dataclass(frozen=True)
class TextRows:
    """Encoded prompts, as the entrances of one way read them.

    prompts  prompt -> its rows, (rows, width), in the model's dtype on the CPU
    segments prompt -> how it lies in them
    words    token ids of the phrases that name concepts, articles left out, longest first: of each of the segments
    """

    prompts: dict[str, Tensor]
    segments: Mapping[str, tuple[Segment, ...]]
    words: list[list[tuple[int, ...]]]

    @classmethod
    def of(cls, model: Model, prompts: Iterable[str], phrases: Iterable[str] = (), way: Way = "tokens") -> TextRows:
        """Encode the distinct ones of the prompts; `phrases` name the concepts in them."""
        return cls.by_way(model, prompts, phrases)[way]

    @classmethod
    def by_way(cls, model: Model, prompts: Iterable[str], phrases: Iterable[str] = ()) -> dict[Way, TextRows]:
        """The same for every way in that the model has."""
        distinct, phrases = list(dict.fromkeys(prompts)), [bare(phrase) for phrase in phrases]
        tell_cut(model, distinct)
        encoded, found = model.encode(distinct, batch=AT_ONCE), dict[Way, TextRows]()
        for way in model.ways:
            rows = {text: model.read(one, way).cpu() for text, one in zip(distinct, encoded, strict=True)}
            if way == "pooled":  # a row for all that the prompt says
                whole = {text: (Segment(0, 0, (-1 - number,), 1),) for number, text in enumerate(distinct)}
                found[way] = cls(rows, whole, [])
            else:
                written = [text for phrase in phrases for text in (phrase, f" {phrase}")]  # to some tokenizers different words
                named = zip(*model.segments(written), strict=True) if phrases else ()
                words = [sorted((part.ids for part in parts), key=len, reverse=True) for parts in named]
                found[way] = cls(rows, dict(zip(distinct, model.segments(distinct), strict=True)), words)
        return found

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return next(iter(self.prompts.values())).shape[1]

    def all(self, prompt: str) -> Tensor:
        """Every row of a prompt, start and padding included, (rows, width) float64."""
        return self.prompts[prompt].double()

    def content(self, prompt: str) -> Tensor:
        """Rows of the prompt's own words, (n, width) float64; n is 0 for an empty prompt."""
        rows = self.all(prompt)
        return torch.cat([rows[part.first : part.end] for part in self.segments[prompt]])

    def end(self, prompt: str) -> Tensor:
        """Rows of the end tokens, (n, width) float64; n is 1 for a prompt that one tokenizer reads."""
        rows = self.all(prompt)
        return torch.cat([rows[part.end : part.stop][:1] for part in self.segments[prompt]])

    def last(self, prompt: str) -> Tensor:
        """Rows of the last words, (n, width) float64: of an empty prompt the row before the end, or the end if it has none before."""
        return self.all(prompt)[[part.last for part in self.segments[prompt]]]

    def stacked(self, prompts: Sequence[str], *, last: bool = False) -> Tensor:
        """All rows of several prompts, or only the last content row of each, (n, width) float64; n may be 0."""
        parts = [self.last(prompt) if last else self.all(prompt) for prompt in prompts]
        return torch.cat(parts) if parts else torch.zeros(0, self.width, dtype=torch.float64)

    def paired(self, prompt: str, guide: str, alignment: Alignment) -> tuple[Tensor, Tensor]:
        """Rows to edit and, in the same order, the guide's rows, both (n, width) float64.

        last     the last content token alone (UCE, release of 2025)
        aligned  from the last content token on: that token, the end token, the padding, cut to equal length (UCE, release of 2023)
        concept  from the first word of the concept on; words after it go to the same words of the guide (ours)
        all      every row, the start token included (RECE)
        """
        rows, guides = self.all(prompt), self.all(guide)
        pairs = list(self._pairs(prompt, guide, alignment))
        return rows[[row for row, _ in pairs]], guides[[row for _, row in pairs]]

    def _pairs(self, prompt: str, guide: str, alignment: Alignment) -> Iterator[tuple[int, int]]:
        """The same as numbers of rows."""
        for number, own in enumerate(self.segments[prompt]):
            other = self._beside(number, guide)
            if alignment == "last":
                yield own.last, other.last
            elif alignment == "all":
                yield from _in_order(own, other)
            else:
                shared = _shared_ending(own.ids, other.ids) if alignment == "concept" else 0
                last, goal = own.last - shared, other.last - shared
                first = min(self._start(own, number, last), last) if alignment == "concept" else last
                tail = min(own.stop - last, other.stop - goal)
                yield from ((row, goal) for row in range(first, last))
                yield from zip(range(last, last + tail), range(goal, goal + tail), strict=True)

    def _beside(self, number: int, guide: str) -> Segment:
        """The guide's segment of that number, or its last: of a prompt in more chunks the rest goes where the guide ends."""
        parts = self.segments[guide]
        return parts[min(number, len(parts) - 1)]

    def _start(self, own: Segment, number: int, default: int) -> int:
        """Row of the concept's first word in a prompt, article left aside (it says nothing about the concept)."""
        for words in self.words[min(number, len(self.words) - 1)] if self.words else ():
            for row in range(len(own.ids) - len(words) + 1):
                if words and own.ids[row : row + len(words)] == words:
                    return own.first + row
        return default


def _in_order(own: Segment, other: Segment) -> Iterator[tuple[int, int]]:
    """Every row with that in the same place; where one prompt has more rows, what ends it goes with what ends the other."""
    if own.stop - own.start == other.stop - other.start:
        yield from zip(range(own.start, own.stop), range(other.start, other.stop), strict=True)
        return
    yield from zip(
        range(own.start, own.end), (min(row, other.last) for row in range(other.start, other.start + own.end)), strict=False
    )
    yield from zip(range(own.end, own.stop), range(other.end, other.stop), strict=False)


def _shared_ending(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Number of tokens at the end that two prompts have in common."""
    count = 0
    while count < min(len(ours), len(theirs)) and ours[-1 - count] == theirs[-1 - count]:
        count += 1
    return count
