"""How far two judges agree beyond chance, and from which certainty on a judge is taken at its word: figures of labels and logits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from excise.randomness import seeded
from excise.resampling import interval, resample
from excise.statistics import wilson

ACCEPTED = 0.95
"""Share of real pictures that a judge is to take for pictures of something."""


def kappa(one: Tensor, other: Tensor, classes: int) -> Tensor:
    """Cohen's kappa (1960) of labels (..., n) int64 over the last axis, (...): 1 all agree, 0 as chance would; NaN if both say one class."""
    table = F.one_hot(one, classes).double().transpose(-1, -2) @ F.one_hot(other, classes).double() / one.shape[-1]
    chance = (table.sum(-1) * table.sum(-2)).sum(-1)
    agreed = table.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.where(chance < 1, (agreed - chance) / (1 - chance), torch.nan)


def kappa_figure(one: Tensor, other: Tensor, classes: int, resamples: int = 1000) -> dict[str, Any]:
    """Kappa of labels (n,) with its 95 % bootstrap interval over pictures, the share on which both say the same, and n.

    None where there is no kappa: both judges say the same class of every picture.
    """
    n = len(one)
    value = float(kappa(one, other, classes))
    picks = resample(n, seeded(0), resamples)
    draws = torch.cat([kappa(one[some], other[some], classes) for some in picks.split(100)])
    low, high = interval(value, draws, n)
    known = value == value
    return {
        "kappa": value if known else None,
        "low": max(-1.0, low) if known and low == low else None,
        "high": min(1.0, high) if known and high == high else None,
        "same": float((one == other).double().mean()),
        "n": n,
    }


def temperature(logits: Tensor, labels: Tensor) -> float:
    """What logits (n, c) are divided by so that the likelihood of labels (n,) is largest (Guo et al., arXiv:1706.04599, section 4.2).

    By ternary search over its logarithm, in which the likelihood has one maximum; from 1/20 to 20.
    """
    low, high = -3.0, 3.0
    for _ in range(60):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        worse = [float(F.cross_entropy(logits.double() / torch.tensor(at).exp(), labels)) for at in (left, right)]
        low, high = (low, right) if worse[0] < worse[1] else (left, high)
    return float(torch.tensor((low + high) / 2).exp())


@dataclass(frozen=True)
class Acceptance:
    """When a judge is taken at its word: its certainty reaches `threshold`.

    temperatures of its heads; the certainty is that of the surest of them, see `certainty`
    """

    temperatures: dict[str, float]
    threshold: float

    @classmethod
    def fit(cls, logits: dict[str, Tensor], labels: dict[str, Tensor], counted: dict[str, Tensor]) -> Acceptance:
        """From real pictures: temperatures by likelihood, then the threshold that 95 % of them reach. `counted`: rows of each head."""
        warm = {head: temperature(logits[head][counted[head]], labels[head][counted[head]]) for head in counted}
        return cls(warm, float(torch.quantile(cls(warm, 0.0).certainty(logits), 1 - ACCEPTED)))

    def certainty(self, logits: dict[str, Tensor]) -> Tensor:
        """How sure the surest of these heads is, each at its own temperature: the logarithm of the odds of its likeliest class, (n,).

        It orders pictures as the largest probability does, and still tells those apart of which that is 1 to rounding.
        """
        return torch.stack([_log_odds(logits[head].double() / each) for head, each in self.temperatures.items()]).amax(0)

    def accepts(self, logits: dict[str, Tensor]) -> Tensor:
        """Whether a picture looks like something, (n,) bool."""
        return self.certainty(logits) >= self.threshold


def _log_odds(logits: Tensor) -> Tensor:
    """Of the likeliest class, (n,)."""
    top, place = logits.max(1, keepdim=True)
    return top.squeeze(1) - logits.scatter(1, place, -torch.inf).logsumexp(1)


def share(hits: Tensor) -> dict[str, float]:
    """A share of pictures (n,) bool with Wilson's 95 % interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return {"value": float(hits.double().mean()), "low": low, "high": high, "n": len(hits)}
