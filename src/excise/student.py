"""Student's t law, for intervals of a few values (no torch here)."""

from __future__ import annotations

import math
from statistics import NormalDist

FEW = 8
"""Values below which percentiles of resamples are not used: a mean of resamples cannot leave the sample's range, which is too narrow (ours)."""


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
