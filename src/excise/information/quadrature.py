"""Where on the noise path to ask, and with what weight: stratified quadrature over the log-SNR a.

An integral over a is estimated as the mean of weight * value over nodes drawn from a truncated logistic law (logistic importance sampling).
Sources: arXiv 2302.03792 and 2310.07972 (law and weights); one draw per equal slice of probability, slices shared out over pictures, is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

LOC, SCALE = 1.0, 2.0
"""The law's centre and scale when nothing is known about the integrand (arXiv 2310.07972, for SD 2.1)."""

_SPREAD = math.sqrt(2) * math.sqrt(3) / math.pi
"""Scale of the law per standard deviation of the integrand: that of a logistic law, and sqrt(2) wider because the plain form's noise goes
as the square root of the integrand (ours)."""


@dataclass(frozen=True)
class Nodes:
    """Timesteps at which every picture is looked at.

    t       (n, k) int64 timesteps
    log_snr (n, k) float64, the level of exactly those timesteps
    weights (n, k) float64; the mean over k of weight * value estimates the integral of value over log-SNR
    """

    t: Tensor
    log_snr: Tensor
    weights: Tensor

    def part(self, rows: slice) -> Nodes:
        """The nodes of some of the pictures."""
        return Nodes(self.t[rows], self.log_snr[rows], self.weights[rows])


def stratified_uniforms(pictures: int, nodes: int, generator: Generator) -> Tensor:
    """(pictures, nodes) float64 in 0–1: one draw per equal slice for every picture, and one per finer slice over all pictures."""
    order = torch.rand(pictures, nodes, generator=generator, dtype=torch.float64).argsort(0)
    inside = torch.rand(pictures, nodes, generator=generator, dtype=torch.float64)
    return (torch.arange(nodes) + (order + inside) / pictures) / nodes


def logistic_nodes(uniforms: Tensor, loc: float, scale: float, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Log-SNR and weight of draws from the logistic law cut to [low, high], each of the shape of `uniforms`.

    For low, high = loc -+ k * scale the weight is scale * tanh(k/2) / (sigmoid(u) sigmoid(-u)), u = (a - loc) / scale.
    """
    first, last = _cdf(torch.tensor([low, high], dtype=torch.float64), loc, scale)
    u = torch.logit(first + (last - first) * uniforms)
    return loc + scale * u, scale * (last - first) / (torch.sigmoid(u) * torch.sigmoid(-u))


@dataclass(frozen=True)
class Law:
    """The law that nodes on a discrete schedule are drawn from.

    levels (T,) log-SNR by timestep, decreasing; timesteps where it is infinite (zero terminal SNR) are never drawn
    loc, scale of the logistic, which is cut to the finite levels

    Raises ValueError if fewer than two levels are finite.
    """

    levels: Tensor
    loc: float = LOC
    scale: float = SCALE

    def __post_init__(self) -> None:
        if (finite := int(self.levels.isfinite().sum())) < 2:
            raise ValueError(f"the schedule has {finite} finite noise levels; at least 2 are needed")

    @classmethod
    def flat(cls, levels: Tensor) -> Law:
        """All levels of log-SNR equally likely."""
        return cls(levels, 0.0, 1e6)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest finite log-SNR: the part of the integral that the model can be asked about."""
        finite = self.levels[self.levels.isfinite()]
        return float(finite.min()), float(finite.max())

    def nodes(self, uniforms: Tensor) -> Nodes:
        """Draws rounded to the nearest timestep; uniforms (n, k) from `stratified_uniforms`.

        The weight of a timestep is the width of its cell over the probability of its cell (cells end half way to the neighbours, the
        outermost at the outermost levels), so that weights integrate to the range exactly and every factor belongs to the rounded level.
        """
        ascending = self.levels.isfinite().nonzero().squeeze(1).flip(0)
        a = self.levels[ascending].double()
        edges = torch.cat([a[:1], (a[1:] + a[:-1]) / 2, a[-1:]])
        drawn, _ = logistic_nodes(uniforms, self.loc, self.scale, *self.range)
        cell = torch.searchsorted(edges[1:-1].contiguous(), drawn)
        below = _cdf(edges, self.loc, self.scale)
        probability = below.diff() / (below[-1] - below[0])
        return Nodes(ascending[cell], a[cell], edges.diff()[cell] / probability[cell])

    def edges(self, count: int) -> Tensor:
        """Log-SNR at the ends of `count` slices of equal probability, (count + 1,) float64, ascending."""
        return logistic_nodes(torch.linspace(0, 1, count + 1, dtype=torch.float64), self.loc, self.scale, *self.range)[0]


def fit_law(log_snr: Tensor, mass: Tensor) -> tuple[float, float]:
    """(loc, scale) of the law that suits an integral seen at pilot nodes; mass (m,) >= 0 is what each node adds to it.

    Matches mean and spread. The scale is at least 1: integrands fall like exp(-|a|) at both ends, so a narrower law would have unbounded
    terms. Gives the default law when there is no mass.
    """
    if not mass.sum() > 0:
        return LOC, SCALE
    share = mass.double() / mass.double().sum()
    loc = (share * log_snr).sum()
    spread = (share * (log_snr - loc).square()).sum().sqrt()
    return float(loc), max(1.0, _SPREAD * float(spread))


def _cdf(a: Tensor, loc: float, scale: float) -> Tensor:
    return torch.sigmoid((a - loc) / scale)
