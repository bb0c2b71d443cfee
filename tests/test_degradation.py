"""Degradations: what comes out is a small low picture, the same of one seed, worse than a plain small one, and never another picture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from excise.restoration.degradation import PLAIN, Degradation, degrade, enlarge, shrink

WORST = Degradation(plain_odds=0.0)


def pictures(count: int = 24, h: int = 32, w: int = 48) -> torch.Tensor:
    """Soft random pictures."""
    coarse = torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(h, w), mode="bilinear")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("scale", [2, 4])
def test_sizes_range_and_steps(scale: int) -> None:
    small = shrink(pictures(), seeded(), scale)
    assert small.shape == (24, 3, 32 // scale, 48 // scale) and small.min() >= 0 and small.max() <= 1
    assert torch.allclose(small * 255, (small * 255).round(), atol=1e-4)
    low = degrade(pictures(), seeded(), scale)
    assert low.shape == (24, 3, 32, 48) and torch.equal(low, enlarge(small, scale)) and low.min() >= 0 and low.max() <= 1


def test_one_seed_gives_one_degradation_and_every_picture_its_own() -> None:
    one, again, other = (degrade(pictures(), seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    same = shrink(pictures(1).expand(24, -1, -1, -1), seeded(), how=WORST)
    assert len({tuple(row.flatten().tolist()) for row in same}) == 24


def test_it_is_worse_than_plain_shrinking_but_the_same_picture() -> None:
    good = pictures()
    plain, worst = (degrade(good, seeded(), how=how) for how in (PLAIN, WORST))
    lost = [(low - good).abs().mean() for low in (plain, worst)]
    assert lost[0] < lost[1] < 0.1
    assert (worst.mean((2, 3)) - good.mean((2, 3))).abs().max() < 0.05, "colours stay"
    apart = (worst[:, None] - good[None]).abs().mean((2, 3, 4))
    assert torch.equal(apart.argmin(1), torch.arange(24)), "each is nearest to the one that it was made of"


def test_a_plain_one_is_the_bicubic_one() -> None:
    expected = F.interpolate(pictures(), size=(8, 12), mode="bicubic", antialias=True)
    assert torch.allclose(shrink(pictures(), seeded(), how=PLAIN), expected.clamp(0, 1), atol=0.5 / 255 + 1e-6)


def test_a_scale_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="pictures of 48x30 pixels are not 4 times as large"):
        shrink(pictures(2, 30), seeded())
