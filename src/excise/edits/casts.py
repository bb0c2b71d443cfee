"""What edits make of one tensor, and following it through the casts that other code makes afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from excise.edits.deltas import Delta

Casts = tuple[torch.dtype, ...]

HALF, BRAIN = torch.float16, torch.bfloat16
CASTS: tuple[Casts, ...] = ((), (HALF,), (BRAIN,), (HALF, BRAIN), (BRAIN, HALF))
"""What may lie between the dtype that a tensor was left in and the one that it has now. There is nothing else to try: what has been through
both half precisions fits into both, so that further casts change no value."""


def edited(original: Tensor, changes: Iterable[tuple[Delta, float]]) -> Tensor:
    """The tensor with changes, each scaled, added in float32 in their order, in its own dtype; itself without any."""
    weight = original
    for delta, scale in changes:
        weight = weight.float() + scale * delta.dense().to(weight.device)
    return weight.to(original.dtype)


def cast(tensor: Tensor, casts: Casts, like: Tensor) -> Tensor:
    """The tensor after these casts, on the device and in the dtype of `like`; itself if that is no change."""
    tensor = tensor.to(like.device)
    for dtype in (*casts, like.dtype):
        tensor = tensor.to(dtype)
    return tensor


def casts_between(left: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Casts | None:
    """The casts that all tensors have been through since they were left; None if some of them were changed in another way.

    Rows that were added to a tensor are not compared.
    """
    for casts in CASTS:
        if all(same_bits(cast(tensor, casts, found[name]), found[name][: len(tensor)]) for name, tensor in left.items()):
            return casts
    return None


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape, dtype and bytes."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(*(tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other)))


def with_added_rows(tensor: Tensor, found: Tensor) -> Tensor:
    """The tensor, and below it the rows that `found` has beyond it."""
    return tensor if len(tensor) == len(found) else torch.cat([tensor, found[len(tensor) :]])
