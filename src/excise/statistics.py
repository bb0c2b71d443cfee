"""Confidence intervals of shares, and Student's t law, without torch."""

from __future__ import annotations

import math
from statistics import NormalDist

Z95 = 1.959963984540054
FEW = 8
"""Values below which percentiles of resamples are not used: a mean of resamples cannot leave the sample's range, which is too narrow (ours)."""


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


def student_quantile(p: float, degrees: int) -> float:
    """Quantile of Student's t law; exact for 1 and 2 degrees of freedom, Cornish–Fisher for more (within 1 % from 3 on)."""
    if degrees == 1:
        return math.tan(math.pi * (p - 0.5))
    if degrees == 2:
        return (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, 1))
