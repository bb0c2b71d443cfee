"""Layers that read words alone compute once what a sampler would compute at every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def words_once(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the block a layer that is given the very same tensor as the last time gives what it gave then: the same bits.

    No weight may change inside. A layer whose forward pass somebody replaced is left alone.
    """
    plain = [layer for layer in layers if type(layer) is nn.Linear and "forward" not in vars(layer)]
    for layer in plain:
        vars(layer)["forward"] = _remembering(layer)
    try:
        yield
    finally:
        for layer in plain:
            del vars(layer)["forward"]


def _remembering(layer: nn.Linear) -> Any:
    """The layer's forward pass, which keeps the last tensor that it was given, and what it made of it."""
    inner, last = layer.forward, list[Tensor]()

    def forward(rows: Tensor) -> Tensor:
        if not last or last[0] is not rows:
            last[:] = rows, inner(rows)
        return last[1]

    return forward
