"""Tiles: every number is covered, weights add up, and the blend is what the formula says, for any size."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from excise.restoration.tiles import begins, bell, count, in_tiles

SIZES = [(24, 16), (17, 9), (8, 31), (33, 8), (25, 25), (5, 40), (40, 3), (8, 8), (2, 3)]


def noise(height: int, width: int, channels: int = 4, b: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(b, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("overlap", [0, 3, 4, 7])
def test_what_is_not_changed_comes_back(height: int, width: int, overlap: int) -> None:
    x = noise(height, width)
    found = in_tiles(lambda latents, low: latents, x, x, tile=8, overlap=overlap, batch=5)
    assert torch.allclose(found, x, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_tile_is_whole_and_everything_is_covered(height: int, width: int) -> None:
    seen: list[tuple[int, ...]] = []

    def look(latents: Tensor, low: Tensor) -> Tensor:
        seen.extend(tuple(one.shape) for one in latents)
        assert latents.shape[-2:] == low.shape[-2:]
        return latents

    x = noise(height, width, b=1)
    in_tiles(look, x, x, tile=8, overlap=4, batch=3)
    assert set(seen) == {(4, min(8, height), min(8, width))} and len(seen) == count(height, width, 8, 4)
    for length in (height, width):
        starts = begins(length, 8, 4)
        covered = {place for start in starts for place in range(start, min(start + 8, length))}
        assert covered == set(range(length)) and starts == sorted(set(starts)) and starts[-1] == max(0, length - 8)
        assert all(later - earlier <= 4 for earlier, later in itertools.pairwise(starts))


def test_the_blend_is_the_formulas() -> None:
    """sum_j W_j e_j / sum_j W_j, number by number, for tiles that know where they are."""
    height, width, tile, overlap = 11, 14, 6, 2
    places = [(y, x) for y in (0, 4, 5) for x in (0, 4, 8)]
    at, answers = 0, [noise(tile, tile, b=1, seed=number) for number in range(len(places))]

    def answer(latents: Tensor, low: Tensor) -> Tensor:
        nonlocal at
        at += len(latents)
        return torch.cat(answers[at - len(latents) : at])

    x = noise(height, width, b=1)
    found = in_tiles(answer, x, x, tile=tile, overlap=overlap, batch=4)

    def weight(i: int) -> float:
        return math.exp(-(((i - (tile - 1) / 2) / tile) ** 2) / (2 * 0.01))

    for y in range(height):
        for col in range(width):
            total, weights = torch.zeros(4, dtype=torch.float64), 0.0
            for (top, left), one in zip(places, answers, strict=True):
                if top <= y < top + tile and left <= col < left + tile:
                    w = weight(y - top) * weight(col - left)
                    total, weights = total + w * one[0, :, y - top, col - left].double(), weights + w
            assert weights > 0 and torch.allclose(found[0, :, y, col].double(), total / weights, atol=1e-5)


def test_a_picture_that_fits_is_computed_as_it_is() -> None:
    x, called = noise(7, 8), []

    def odd(latents: Tensor, low: Tensor) -> Tensor:
        called.append(len(latents))
        return latents.cumsum(3) * 1.1

    for tile in (8, 9, 100):
        assert torch.equal(in_tiles(odd, x, x, tile=tile, overlap=4, batch=1), odd(x, x))
    assert called == [2] * 6


def test_the_batch_of_tiles_changes_nothing() -> None:
    mix = torch.randn(4, 4, generator=torch.Generator().manual_seed(9))

    def compute(latents: Tensor, low: Tensor) -> Tensor:
        return torch.einsum("bchw,cd->bdhw", latents.cumsum(2), mix) + low

    x, low = noise(21, 13), noise(21, 13, seed=1)
    one, *others = (in_tiles(compute, x, low, tile=8, overlap=4, batch=batch) for batch in (1, 2, 3, 64))
    assert all(torch.allclose(one, other, atol=1e-5) for other in others)


def test_what_is_finer_than_latents() -> None:
    """A decoder of grain 4: the low picture is cut where its latents are."""
    x, low = noise(13, 10), noise(52, 40, channels=3, seed=1)

    def decoded(latents: Tensor, cut: Tensor) -> Tensor:
        assert cut.shape[-2:] == (latents.shape[-2] * 4, latents.shape[-1] * 4)
        return cut + latents[:, :3].repeat_interleave(4, 2).repeat_interleave(4, 3)

    found = in_tiles(decoded, x, low, tile=8, overlap=2, batch=2, grain=4)
    assert torch.allclose(found, decoded(x, low), atol=1e-5)


def test_half_precision_keeps_its_dtype_and_the_corners() -> None:
    """Weights of e^-25 in a corner are 0 in half precision; they are not added up in it."""
    x = noise(24, 24).half()
    found = in_tiles(lambda latents, low: latents, x, x, tile=16, overlap=8, batch=4)
    assert found.dtype == torch.float16 and torch.allclose(found, x, atol=1e-3)


def test_the_bell_is_symmetric_and_nowhere_nothing() -> None:
    for length in (1, 7, 64, 1024):
        weights = bell(length)
        assert torch.equal(weights, weights.flip(0)) and weights.min() > 0 and weights.max() <= 1
    assert bell(64)[0].item() == pytest.approx(math.exp(-((31.5 / 64) ** 2) / 0.02), rel=1e-4)
