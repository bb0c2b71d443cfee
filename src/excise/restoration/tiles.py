"""Pictures larger than a network is used to, tile by tile: what is computed of the tiles is blended (arXiv 2305.07015, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

WIDTH = 0.01
"""Variance of the weights' bell, as published, for a tile of edge 1: they fall to e^-12.5 at its border."""


def in_tiles(
    compute: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    low: Tensor,
    *,
    tile: int,
    overlap: int,
    batch: int,
    grain: int = 1,
) -> Tensor:
    """What `compute` gives of latents and of the low-quality picture, computed tile by tile and blended; without seams.

    compute  (latents (n, c, th, tw), low (n, k, grain th, grain tw)) -> (n, c', grain th, grain tw), of tiles of all pictures, one tile's
             pictures after another's
    latents  (b, c, h, w)
    low      (b, k, grain h, grain w), its latents or itself
    tile     edge of a tile in latents; every tile has it, unless the picture is smaller. The last of a row is moved inwards
    overlap  of neighbours, below `tile`
    batch    pictures of tiles at once; one tile of every picture at least
    grain    numbers of the edge of `low`, and of the result, for one of the latents'

    Returns (b, c', grain h, grain w). A picture that fits into a tile is computed as it is.
    """
    height, width = latents.shape[-2:]
    tall, wide = min(tile, height), min(tile, width)
    if (tall, wide) == (height, width):
        return compute(latents, low)
    weight = torch.outer(bell(tall * grain), bell(wide * grain))
    places = list(product(begins(height, tile, overlap), begins(width, tile, overlap)))
    at_once, sums = max(1, batch // len(latents)), list[Tensor]()
    for first in range(0, len(places), at_once):
        some = places[first : first + at_once]
        cut = torch.cat([_cut(latents, y, x, tall, wide, 1) for y, x in some])
        cut_low = torch.cat([_cut(low, y, x, tall, wide, grain) for y, x in some])
        parts = compute(cut, cut_low)
        if not sums:
            weight, size = weight.to(parts.device), (height * grain, width * grain)
            sums = [torch.zeros(*shape, *size, device=parts.device) for shape in ((len(latents), parts.shape[1]), ())]
        for (y, x), part in zip(some, parts.split(len(latents)), strict=True):
            for total, more in zip(sums, (part.float() * weight, weight), strict=True):
                _cut(total, y, x, tall, wide, grain).add_(more)
    return (sums[0] / sums[1]).to(parts.dtype)


def begins(length: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of a row begin: the last one ends with the row.

    >>> begins(24, 8, 4), begins(9, 8, 4), begins(5, 8, 4)
    ([0, 4, 8, 12, 16], [0, 1], [0])
    """
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def count(height: int, width: int, tile: int, overlap: int) -> int:
    """How many tiles a picture has."""
    return len(begins(height, tile, overlap)) * len(begins(width, tile, overlap))


def bell(length: int) -> Tensor:
    """Weights of a row of numbers, (length,) float32: a bell around its middle, nowhere 0."""
    places = (torch.arange(length) - (length - 1) / 2) / length
    return (-places.square() / (2 * WIDTH)).exp()


def _cut(whole: Tensor, y: int, x: int, tall: int, wide: int, scale: int) -> Tensor:
    """A tile of (..., h, w), by its place and size in latents."""
    return whole[..., y * scale : (y + tall) * scale, x * scale : (x + wide) * scale]
