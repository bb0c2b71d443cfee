"""Confidence intervals of shares."""

from __future__ import annotations

import math

Z95 = 1.959963984540054


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
