"""Changes of single tensors: dense, or exactly low-rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dense:
    """A change stored whole, shape of the weight."""

    value: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return tuple(self.value.shape)

    def dense(self) -> Tensor:
        """The change, float32."""
        return self.value.float()

    def scaled(self, factor: float) -> Dense:
        """The change, `factor` times as strong."""
        return Dense(factor * self.value)

    def tensors(self, name: str) -> dict[str, Tensor]:
        return {f"{name}:delta": self.value}


@dataclass(frozen=True)
class LowRank:
    """A change of a matrix as up @ down: up (out, r), down (r, in)."""

    up: Tensor
    down: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return len(self.up), self.down.shape[1]

    def dense(self) -> Tensor:
        """The change, (out, in) float32."""
        return self.up.float() @ self.down.float()

    def scaled(self, factor: float) -> LowRank:
        """The change, `factor` times as strong."""
        return LowRank(factor * self.up, self.down)

    def tensors(self, name: str) -> dict[str, Tensor]:
        return {f"{name}:up": self.up, f"{name}:down": self.down}


Delta = Dense | LowRank


def difference(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Delta]:
    """Dense changes, float32, of the tensors that differ."""
    changes = ((name, (after[name].detach().float() - before[name].detach().float()).cpu()) for name in after)
    return {name: Dense(change) for name, change in changes if change.any()}


def total(name: str, deltas: Sequence[Delta]) -> Delta:
    """The sum of changes of one tensor, in float32: in factors where all have them and their ranks add up to less than the whole.

    Raises ValueError if their shapes differ. So the sum is never larger than they are.
    """
    if len(deltas) == 1:
        return deltas[0]
    if len(shapes := dict.fromkeys(delta.shape for delta in deltas)) > 1:
        raise ValueError(f"changes of {name} do not add up: {' and '.join(map(str, shapes))}")
    low = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(low) == len(deltas):
        up, down = torch.cat([d.up.float() for d in low], 1), torch.cat([d.down.float() for d in low])
        if up.shape[1] < min(len(up), down.shape[1]):
            return LowRank(up, down)
    whole = deltas[0].dense()
    for delta in deltas[1:]:
        whole = whole + delta.dense()
    return Dense(whole)


def parse_deltas(tensors: Mapping[str, Tensor]) -> dict[str, Delta]:
    """The changes that a file's tensors are, by name. Raises ValueError if they are not changes."""
    deltas: dict[str, Delta] = {}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition(":")
        if part == "delta" and name not in deltas:
            deltas[name] = Dense(tensor)
        elif part == "up" and f"{name}:down" in tensors and name not in deltas:
            deltas[name] = _low_rank(tensor, tensors[f"{name}:down"], name)
        elif not (part == "down" and f"{name}:up" in tensors):
            raise ValueError(f"unexpected tensor {key[:200]!r}")
    return deltas


def _low_rank(up: Tensor, down: Tensor, name: str) -> LowRank:
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0]:
        raise ValueError(f"the factors of {name} do not fit together: {tuple(up.shape)} and {tuple(down.shape)}")
    return LowRank(up, down)
