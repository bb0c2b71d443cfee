"""Shares of pictures in which something is recognised, and their mean over concepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from excise.figures import Figure
from excise.resampling import macro_interval


@dataclass(frozen=True)
class Share:
    """`hits` of `n` pictures."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n

    def __add__(self, other: Share) -> Share:
        return Share(self.hits + other.hits, self.n + other.n)


def counted(hits: Mapping[str, Sequence[bool]]) -> dict[str, Share]:
    """The shares of what was found in each picture, by label."""
    return {label: Share(sum(found), len(found)) for label, found in hits.items()}


def mean_share(shares: Iterable[Share]) -> Figure | None:
    """Mean over concepts with its interval; None for none."""
    shares = list(shares)
    if not shares:
        return None
    low, high = macro_interval([share.hits for share in shares], [share.n for share in shares])
    return Figure(
        value=sum(share.value for share in shares) / len(shares), low=low, high=high, n=sum(share.n for share in shares)
    )
