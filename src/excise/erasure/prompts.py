"""The prompt bank: prompts with the concept and the same prompts without it, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from excise.concepts import Concept, PromptPair

if TYPE_CHECKING:
    from excise.models import Model


@dataclass(frozen=True)
class PromptBank:
    """Encoded prompt pairs of one or more concepts.

    pairs       what the rows are, in order
    owner       (pairs,) int64, index of the concept a row belongs to
    conditioned (pairs, tokens, width), with the concept
    masked      (pairs, tokens, width), without
    empty       (1, tokens, width), the empty prompt
    """

    pairs: tuple[PromptPair, ...]
    owner: Tensor
    conditioned: Tensor
    masked: Tensor
    empty: Tensor

    @classmethod
    def of(cls, model: Model, concepts: Sequence[Concept], plain: bool = False) -> PromptBank:
        """Encode the prompts of the concepts: every phrasing, or only the plain ones.

        Raises ValueError if a prompt does not contain its concept (nothing could be learned from it).
        """
        groups = [concept.plain_pairs() if plain else concept.pairs() for concept in concepts]
        pairs = tuple(pair for group in groups for pair in group)
        for pair in pairs:
            if pair.prompt == pair.masked:
                raise ValueError(f"prompt {pair.prompt!r} does not contain the concept to erase")
        owner = torch.cat([torch.full((len(group),), index) for index, group in enumerate(groups)])
        distinct = list(dict.fromkeys(["", *(pair.prompt for pair in pairs), *(pair.masked for pair in pairs)]))
        rows = {prompt: index for index, prompt in enumerate(distinct)}
        encoded = model.encode(distinct)
        return cls(
            pairs,
            owner,
            encoded[[rows[pair.prompt] for pair in pairs]],
            encoded[[rows[pair.masked] for pair in pairs]],
            encoded[[0]],
        )

    def draw(self, count: int, generator: Generator) -> Tensor:
        """`count` random rows, every concept equally often (up to one), (count,) int64."""
        concepts = int(self.owner.max()) + 1
        rows = [(self.owner == index).nonzero().squeeze(1) for index in range(concepts)]
        picks = [rows[i % concepts][torch.randint(len(rows[i % concepts]), (1,), generator=generator)] for i in range(count)]
        return torch.cat(picks)
