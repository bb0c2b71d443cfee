"""Colours of restored pictures: the published formulas beside loops written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.restoration.colour import LEVELS, TINY, adain, coarse, match_colour, wavelet


def noise(seed: int, height: int = 24, width: int = 31) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def blurred(channel: np.ndarray, step: int) -> np.ndarray:
    """By hand: (1/16) [1 2 1; 2 4 2; 1 2 1] with `step` pixels between, the border repeated."""
    height, width = channel.shape
    found = np.zeros_like(channel)
    for down, tall in ((-1, 1), (0, 2), (1, 1)):
        for right, wide in ((-1, 1), (0, 2), (1, 1)):
            rows = np.clip(np.arange(height) + down * step, 0, height - 1)
            columns = np.clip(np.arange(width) + right * step, 0, width - 1)
            found += tall * wide / 16 * channel[np.ix_(rows, columns)]
    return found


def test_wavelets_are_those_of_the_formula() -> None:
    """What every level takes away, summed, on what is left of the reference."""
    pictures, reference = noise(0), noise(1)
    found = wavelet(pictures, reference)
    for b in range(2):
        for c in range(3):
            now, low = pictures[b, c].double().numpy(), reference[b, c].double().numpy()
            high = np.zeros_like(now)
            for level in range(LEVELS):
                softer = blurred(now, 2**level)
                high, now, low = high + now - softer, softer, blurred(low, 2**level)
            np.testing.assert_allclose(found[b, c].numpy(), high + low, atol=1e-5)


def test_means_and_deviations_become_the_references() -> None:
    pictures, reference = noise(0), noise(1) ** 2
    found = adain(pictures, reference)
    assert torch.allclose(found.mean((2, 3)), reference.mean((2, 3)), atol=1e-5)
    assert torch.allclose(found.std((2, 3)), reference.std((2, 3)), atol=1e-3)
    mean, deviation = pictures[0, 1].mean(), (pictures[0, 1].var(unbiased=True) + TINY).sqrt()
    other_mean, other = reference[0, 1].mean(), (reference[0, 1].var(unbiased=True) + TINY).sqrt()
    assert torch.allclose(found[0, 1], (pictures[0, 1] - mean) / deviation * other + other_mean, atol=1e-5)


@pytest.mark.parametrize(("how", "near"), [("adain", 1e-4), ("wavelet", 1e-6), ("none", 0)])
def test_a_picture_matched_by_itself_stays(how: str, near: float) -> None:
    pictures = noise(0)
    assert (match_colour(pictures, pictures, how) - pictures).abs().max() <= near  # type: ignore[arg-type]


def test_a_constant_of_the_reference_comes_through() -> None:
    pictures, reference = noise(0), noise(1)
    for correct in (wavelet, adain):
        shifted = correct(pictures, reference + 0.25) - correct(pictures, reference)
        assert torch.allclose(shifted, torch.tensor(0.25), atol=1e-5)


def test_fine_structures_are_the_pictures_coarse_ones_the_references() -> None:
    """A checkerboard on a ramp, and a ramp that falls: the board stays, the ramp turns."""
    ramp = torch.linspace(0.3, 0.7, 64).expand(1, 3, 64, 64)
    board = 0.05 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2 - 1.0)
    found = wavelet(ramp + board, ramp.flip(3))
    assert torch.allclose(found[..., 24:40, 24:40], (ramp.flip(3) + board)[..., 24:40, 24:40], atol=0.02)
    assert coarse(board.expand(1, 3, 64, 64))[..., 24:40, 24:40].abs().max() < 1e-4


def test_one_flat_colour_is_no_division_by_nothing() -> None:
    flat = torch.full((1, 3, 5, 4), 0.5)
    for how in ("adain", "wavelet"):
        found = match_colour(flat, noise(1, 5, 4)[:1], how)  # type: ignore[arg-type]
        assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1


def test_colours_stay_in_their_range() -> None:
    bright = match_colour(noise(0), noise(1) / 2 + 0.5, "wavelet")
    assert bright.max() <= 1 < wavelet(noise(0), noise(1) / 2 + 0.5).max()
