"""Prompts that are encoded when they are first asked for: of hundreds that name a concept a run looks at a few dozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from excise.models import Conditioning, Model
from excise.models.conditioning import Rows

AT_ONCE = 32
"""Prompts in a pass of the text encoder (ours: what it computes then fits the caches of a processor)."""


class PromptCache:
    """Distinct prompts, each encoded once, by the model as it is then; the first of them at once.

    A prompt's last bits depend on those that are encoded beside it: what must have the same bits again must be asked for in the same way.

    texts  without repeats, at least one
    """

    def __init__(self, model: Model, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self._model = model
        self._known = model.encode(self.texts[:1])
        self._place = torch.full((len(self.texts),), -1)
        self._place[0] = 0

    def rows(self, numbers: Tensor) -> Conditioning:
        """The prompts of these numbers, (n,) int64; n may be 0."""
        missing = numbers[self._place[numbers] < 0].unique()
        if len(missing):
            self._place[missing] = len(self._known) + torch.arange(len(missing))
            self._known = Conditioning.join([self._known, self._encoded([self.texts[number] for number in missing])])
        return self._known[self._place[numbers]]

    def _encoded(self, texts: Sequence[str]) -> Conditioning:
        with torch.autocast(self._model.device.type, enabled=False):  # as outside of training
            return self._model.encode(texts, batch=AT_ONCE)


class LazyConditioning(Conditioning):
    """A conditioning of prompts of a cache: rows that are picked are encoded then, and all of them where all are looked at.

    numbers (b,) int64, the prompt of the cache that each row is
    """

    cache: PromptCache
    numbers: Tensor

    def __init__(self, cache: PromptCache, numbers: Tensor) -> None:
        object.__setattr__(self, "cache", cache)
        object.__setattr__(self, "numbers", numbers)

    @property
    def tokens(self) -> Tensor:
        return self[:].tokens

    @property
    def pooled(self) -> Tensor | None:
        return self[:].pooled

    @property
    def mask(self) -> Tensor | None:
        return self[:].mask

    @property
    def ids(self) -> Mapping[str, Tensor]:
        return self[:].ids

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Rows) -> Conditioning:
        if isinstance(rows, int):
            rows = [range(len(self))[rows]]
        return self.cache.rows(self.numbers[rows.cpu() if isinstance(rows, Tensor) else rows])

    def __iter__(self) -> Iterator[Conditioning]:
        return iter(self[:])
