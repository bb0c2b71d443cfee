"""Bootstrap intervals: coverage, pairing, small samples."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from excise.figures import Figure
from excise.information.summaries import collateral
from excise.resampling import Estimate, bootstrap, interval, resample
from excise.statistics import student_quantile


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean(-1)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 9, 40])
def test_student_quantile_is_that_of_scipy(degrees: int) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.01)


@pytest.mark.parametrize("n", [3, 8, 40])
def test_interval_of_the_mean_covers_the_truth_as_often_as_it_says(n: int) -> None:
    hits = 0
    for seed in range(300):
        values = torch.randn(n, generator=generator(seed), dtype=torch.float64)
        estimate, _ = bootstrap(mean, [values], resample(n, generator(1000 + seed), 500))
        hits += estimate.low < 0 < estimate.high
    assert 0.91 < hits / 300 < 0.985


def test_interval_of_the_mean_is_the_students_t_interval_of_scipy() -> None:
    values = torch.randn(60, generator=generator(), dtype=torch.float64) + 3
    estimate, draws = bootstrap(mean, [values], resample(60, generator(1), 20_000))
    low, high = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values))
    assert estimate.low == pytest.approx(low, abs=0.02)
    assert estimate.high == pytest.approx(high, abs=0.02)
    assert estimate.value == values.mean().item()
    assert draws.shape == (20_000,)


@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_of_few_pictures_it_is_so_too(n: int) -> None:
    """Percentiles could not leave the sample's own range."""
    values = torch.randn(n, generator=generator(n), dtype=torch.float64) + 3
    estimate, _ = bootstrap(mean, [values], resample(n, generator(1), 20_000))
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.03 * (high - low))


def test_the_mean_over_groups_has_the_pooled_degrees_of_freedom() -> None:
    """Shares of three concepts, three pictures each: t with 6 degrees and the spread of the mean of three means, by scipy."""
    groups = 0.5 + 0.1 * torch.randn(3, 3, generator=generator(), dtype=torch.float64)
    drawn = [bootstrap(mean, [own], resample(3, generator(i), 20_000)) for i, own in enumerate(groups)]
    found = collateral({str(i): (estimate.figure, draws) for i, (estimate, draws) in enumerate(drawn)})
    spread = math.sqrt(sum(stats.sem(own) ** 2 for own in groups)) / 3
    low, high = stats.t.interval(0.95, 6, loc=groups.mean(), scale=spread)
    assert found and found.mean and found.mean.interval == pytest.approx((low, high), abs=0.01)
    louder = collateral(
        {str(i): (replace(each, value=each.value + 0.49).figure, draws + 0.49) for i, (each, draws) in enumerate(drawn)}
    )
    assert louder and louder.mean and louder.mean.interval and louder.mean.interval[1] <= 1, "each counts as at most 1"


def test_a_share_that_is_undefined_leaves_no_mean_and_no_worst() -> None:
    """An edit that overflows on one concept must not look better than one that only harms it."""
    picks = resample(3, generator())
    good, draws = bootstrap(mean, [torch.tensor([0.9, 1.0, 0.8])], picks)
    found = collateral({"object:dog": (good.figure, draws), "object:bird": (None, draws * math.nan)})
    assert found and found.mean is None and found.worst is None and [each.concept for each in found.kept] == ["object:dog"]
    assert collateral({}) is None


def test_samples_are_resampled_in_pairs() -> None:
    base = torch.rand(20, generator=generator(), dtype=torch.float64) + 0.1
    estimate, _ = bootstrap(lambda e, b: e.mean(-1) / b.mean(-1), [0.25 * base, base], resample(20, generator()))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.25, 0.25, 0.25))


def test_one_picture_has_no_interval() -> None:
    estimate, _ = bootstrap(mean, [torch.tensor([2.0])], resample(1, generator()))
    assert estimate.value == 2 and math.isnan(estimate.low)
    assert estimate.figure == Figure(value=2.0, n=1)
    assert Estimate(math.nan, 1.0, 2.0, 3).figure is None
    assert all(math.isnan(end) for end in interval(1.0, torch.full((5,), math.nan), 10))
