"""What a denoiser is told: encoded prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

Rows = int | slice | Sequence[int] | Tensor
"""Which prompts: one, a slice, their numbers, or a tensor of numbers (k,) int64 or of bool (b,)."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Encoded prompts, one a row; rows are picked, joined and expanded as of one tensor.

    tokens (b, n, width)  what the prompts' tokens say
    pooled (b, width)     what each whole prompt says, in families that have it
    mask   (b, n)         which tokens count, in families that have it
    ids    further tensors by name, each (b, ...)

    Raises ValueError if the tensors are not of equally many prompts.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None
    ids: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(tensor) for name, tensor in self._tensors().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"a conditioning needs one row of every tensor for each prompt, not {lengths}")

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt that count, where those that do not are at the end: all without a mask."""
        count = self.tokens.shape[1]
        return [count] * len(self) if self.mask is None else self.mask.sum(1).tolist()

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.tokens)

    def __getitem__(self, rows: Rows) -> Conditioning:
        """Some of the prompts; a single number gives a conditioning of one prompt. Raises IndexError for one that is not there."""
        if isinstance(rows, int):
            rows = [range(len(self))[rows]]
        elif isinstance(rows, Sequence):
            rows = list(rows)
        return self._each(lambda tensor: tensor[rows.to(tensor.device) if isinstance(rows, Tensor) else rows])

    def __iter__(self) -> Iterator[Conditioning]:
        """The prompts one by one."""
        return (self[row] for row in range(len(self)))

    @staticmethod
    def join(parts: Sequence[Conditioning]) -> Conditioning:
        """The prompts of several, one after the other; at least one. Fewer tokens are filled up to the most, and a mask says which count."""
        most = max(part.tokens.shape[1] for part in parts)
        if any(part.mask is not None or part.tokens.shape[1] < most for part in parts):
            parts = [part._filled(most) for part in parts]
        tensors = [part._tensors() for part in parts]
        return parts[0]._with({name: torch.cat([each[name] for each in tensors]) for name in tensors[0]})

    def expand(self, count: int) -> Conditioning:
        """`count` prompts without a copy: a single prompt again and again; as many as there are stay as they are.

        Raises RuntimeError for another number of prompts.
        """
        return self._each(lambda tensor: tensor.expand(count, *[-1] * (tensor.ndim - 1)))

    def with_tokens(self, tokens: Tensor) -> Conditioning:
        """The same prompts with other tokens (b, n, width); of another number of them all count."""
        kept = self._tensors()
        if tokens.shape[1] != kept["tokens"].shape[1]:
            kept.pop("mask", None)
        return self._with({**kept, "tokens": tokens})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        """The same on a device, its floating-point tensors in `dtype` if one is given."""
        return self._each(lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else None))

    def _filled(self, count: int) -> Conditioning:
        """The same with `count` tokens and a mask, those at the end masked."""
        kept = self._tensors()
        tokens = kept["tokens"]
        missing, mask = count - tokens.shape[1], kept.get("mask", tokens.new_ones(tokens.shape[:2], dtype=torch.bool))
        return self._with({**kept, "tokens": pad(tokens, (0, 0, 0, missing)), "mask": pad(mask, (0, missing))})

    def _tensors(self) -> dict[str, Tensor]:
        own = {"tokens": self.tokens, "pooled": self.pooled, "mask": self.mask}
        return {name: tensor for name, tensor in own.items() if tensor is not None} | dict(self.ids)

    def _with(self, tensors: Mapping[str, Tensor]) -> Conditioning:
        return Conditioning(
            tensors["tokens"], tensors.get("pooled"), tensors.get("mask"), {name: tensors[name] for name in self.ids}
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        return self._with({name: change(tensor) for name, tensor in self._tensors().items()})
