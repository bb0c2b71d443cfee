"""Intervals by resampling pictures: whole pictures, never noise points, so that the spread between pictures is in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from excise.figures import Figure
from excise.randomness import seeded
from excise.statistics import FEW, student_quantile, wilson

CONFIDENCE = 0.95
RESAMPLES = 2000
CONCEPT_RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    value     the point estimate
    low, high ends of the 95 % bootstrap interval; NaN from a single picture
    n         pictures it rests on
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def figure(self) -> Figure | None:
        """As results hold it: without an interval where an end is not finite; None where the value itself is not."""
        if not math.isfinite(self.value):
            return None
        whole = math.isfinite(self.low) and math.isfinite(self.high)
        return Figure(value=self.value, low=self.low if whole else None, high=self.high if whole else None, n=self.n)


def resample(pictures: int, generator: Generator, count: int = RESAMPLES) -> Tensor:
    """(count, pictures) int64: rows of picture numbers drawn with replacement."""
    return torch.randint(pictures, (count, pictures), generator=generator)


def bootstrap(statistic: Callable[..., Tensor], samples: Sequence[Tensor], picks: Tensor) -> tuple[Estimate, Tensor]:
    """A statistic of per-picture values with its interval, and its value in every resample.

    statistic takes one tensor per sample, pictures last, and reduces that axis
    samples   (n,) each, paired: the same picture stands at the same place
    picks     (resamples, n) from `resample`
    """
    value = float(statistic(*samples))
    draws = statistic(*(sample[picks] for sample in samples))
    return Estimate(value, *interval(value, draws, picks.shape[1]), picks.shape[1]), draws


def interval(
    value: float, draws: Tensor, n: int, confidence: float = CONFIDENCE, *, degrees: int | None = None
) -> tuple[float, float]:
    """Ends of the expanded percentile interval (Hesterberg, arXiv 1411.5279, section 5.2): wider than the percentiles for small n.

    Of fewer than 8 pictures Student's t interval with the spread of the resamples, which may leave the range of what is possible.

    value   the statistic of the sample itself
    draws   (resamples,) values of the statistic
    n       the pictures in a resample; of a statistic over groups that are resampled apart, those of the smallest
    degrees of freedom of the spread, default n - 1; over groups, all pictures less the number of groups

    NaN for n = 1 or if no draw is finite.
    """
    finite = draws[draws.isfinite()]
    if n < 2 or not len(finite):
        return math.nan, math.nan
    spreads = math.sqrt(n / (n - 1)) * student_quantile((1 + confidence) / 2, degrees or n - 1)
    if n < FEW:
        half = spreads * float(finite.double().std(correction=0))
        return value - half, value + half
    tail = NormalDist().cdf(-spreads)
    low, high = torch.quantile(finite.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(low), float(high)


def macro_interval(hits: Sequence[int], counts: Sequence[int]) -> tuple[float, float]:
    """95 % interval of the mean over concepts of `hits`/`counts`: the wider of two.

    Resampling concepts (10,000 times, fixed seed) sees that concepts differ, but nothing of chance within one: all right would leave no
    width. Wilson's interval of the pooled pictures sees that chance alone. A single concept has Wilson's only.
    """
    low, high = wilson(sum(hits), sum(counts))
    if len(hits) == 1:
        return low, high
    shares = torch.tensor(hits, dtype=torch.float64) / torch.tensor(counts)
    picks = resample(len(hits), seeded(0), CONCEPT_RESAMPLES)
    over = interval(float(shares.mean()), shares[picks].mean(1), len(hits))
    return max(0.0, min(low, over[0])), min(1.0, max(high, over[1]))
