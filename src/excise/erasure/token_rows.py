"""Which rows of which prompts' embeddings a closed-form edit works on. Every distinct prompt is encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from excise.erasure.wording import bare
from excise.models import Model
from excise.models.context import tell_cut

Alignment = Literal["last", "aligned", "concept", "all"]


@dataclass(frozen=True)
class TokenRows:
    """Encoded prompts.

    index      prompt -> its place
    embeddings (prompts, tokens, width), in the model's dtype
    ids        token ids of every prompt, start and end included, padding left out
    words      token ids of the phrases that name concepts, articles and start and end left out, longest first
    """

    index: dict[str, int]
    embeddings: Tensor
    ids: list[list[int]]
    words: list[list[int]]

    @classmethod
    def of(cls, model: Model, prompts: Iterable[str], phrases: Iterable[str] = ()) -> TokenRows:
        """Encode the distinct ones of the prompts; `phrases` name the concepts in them."""
        distinct = list(dict.fromkeys(prompts))
        tell_cut(model, distinct)
        index = {prompt: place for place, prompt in enumerate(distinct)}
        names = [ids[1:-1] for ids in model.token_ids([bare(phrase) for phrase in phrases])] if phrases else []
        return cls(index, model.encode(distinct).tokens.cpu(), model.token_ids(distinct), sorted(names, key=len, reverse=True))

    def all(self, prompt: str) -> Tensor:
        """Every row of a prompt, start and padding included, (tokens, width) float64."""
        return self.embeddings[self.index[prompt]].double()

    def last(self, prompt: str) -> int:
        """Row of the last token before the end token; 0 (the start token) for an empty prompt."""
        return len(self.ids[self.index[prompt]]) - 2

    def content(self, prompt: str) -> Tensor:
        """Rows of the prompt's own words, (n, width) float64; n is 0 for an empty prompt."""
        return self.all(prompt)[1 : self.last(prompt) + 1]

    def end(self, prompt: str) -> Tensor:
        """Row of the end token, (1, width) float64."""
        return self.all(prompt)[self.last(prompt) + 1][None]

    def stacked(self, prompts: Sequence[str], *, last: bool = False) -> Tensor:
        """All rows of several prompts, or only the last content row of each, (n, width) float64; n may be 0."""
        parts = [self.all(prompt)[self.last(prompt)][None] if last else self.all(prompt) for prompt in prompts]
        return torch.cat(parts) if parts else torch.zeros(0, self.embeddings.shape[2], dtype=torch.float64)

    def paired(self, prompt: str, guide: str, alignment: Alignment) -> tuple[Tensor, Tensor]:
        """Rows to edit and, in the same order, the guide's rows, both (n, width) float64.

        last     the last content token alone (UCE, release of 2025)
        aligned  from the last content token on: that token, the end token, the padding, cut to equal length (UCE, release of 2023)
        concept  from the first word of the concept on; words after it go to the same words of the guide (ours)
        all      every row, the start token included (RECE)
        """
        source, target = self.all(prompt), self.all(guide)
        if alignment == "all":
            return source, target
        s, g = self.last(prompt), self.last(guide)
        if alignment == "last":
            return source[s][None], target[g][None]
        first = s
        if alignment == "concept":
            shared = self._shared_ending(prompt, guide)
            s, g = s - shared, g - shared
            first = min(self._start(prompt, s), s)
        tail = len(source) - max(s, g)
        return source[first : s + tail], torch.cat([target[g].expand(s - first, -1), target[g : g + tail]])

    def _shared_ending(self, prompt: str, guide: str) -> int:
        """Number of content tokens at the end that two prompts have in common."""
        ours, theirs = (self.ids[self.index[text]][1:-1] for text in (prompt, guide))
        count = 0
        while count < min(len(ours), len(theirs)) and ours[-1 - count] == theirs[-1 - count]:
            count += 1
        return count

    def _start(self, prompt: str, default: int) -> int:
        """Row of the concept's first word in a prompt, article left aside (it says nothing about the concept)."""
        ids = self.ids[self.index[prompt]]
        for words in self.words:
            for row in range(1, len(ids) - len(words)):
                if words and ids[row : row + len(words)] == words:
                    return row
        return default
