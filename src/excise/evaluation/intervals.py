"""Confidence intervals of shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
RESAMPLES = 10_000


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share `hits`/`n`, both ends in 0..1. Raises ValueError for n < 1 or hits outside 0..n.

    >>> tuple(round(end, 3) for end in wilson(0, 200))
    (0.0, 0.019)
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"need 0 <= hits <= n and n >= 1, got {hits} of {n}")
    p, z2 = hits / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def macro_interval(hits: Sequence[int], counts: Sequence[int]) -> tuple[float, float]:
    """95 % interval of the mean over concepts of `hits`/`counts`: the wider of two.

    Resampling concepts (10,000 times, fixed seed) sees that concepts differ, but nothing of chance within one: all right would leave no
    width. Wilson's interval of the pooled pictures sees that chance alone. A single concept has Wilson's only.
    """
    import torch

    from excise.information.bootstrap import interval, resample

    low, high = wilson(sum(hits), sum(counts))
    if len(hits) == 1:
        return low, high
    shares = torch.tensor(hits, dtype=torch.float64) / torch.tensor(counts)
    picks = resample(len(hits), torch.Generator().manual_seed(0), RESAMPLES)
    over = interval(float(shares.mean()), shares[picks].mean(1), len(hits))
    return max(0.0, min(low, over[0])), min(1.0, max(high, over[1]))
