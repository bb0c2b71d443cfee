"""Channels with exact denoisers and known information, for tests: x observed through z = sqrt(sigmoid(a)) x + sqrt(sigmoid(-a)) e."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor


def noised(x: Tensor, noise: Tensor, a: Tensor) -> Tensor:
    """z at log-SNR a, float64."""
    return torch.sigmoid(a).sqrt() * x + torch.sigmoid(-a).sqrt() * noise


def noise_of(x_hat: Tensor, z: Tensor, a: Tensor) -> Tensor:
    """The noise that a denoised picture means."""
    return (z - torch.sigmoid(a).sqrt() * x_hat) / torch.sigmoid(-a).sqrt()


def gaussian_denoiser(z: Tensor, a: Tensor, mean: Tensor | float, variance: float) -> Tensor:
    """E[e | z] when x ~ N(mean, variance)."""
    alpha, power = torch.sigmoid(a).sqrt(), torch.sigmoid(a)
    x_hat = mean + alpha * variance / (power * variance + torch.sigmoid(-a)) * (z - alpha * mean)
    return noise_of(x_hat, z, a)


@dataclass(frozen=True)
class GaussianToy:
    """x ~ N(0, 1) and a "prompt" y = x + tau n."""

    tau2: float

    @property
    def variance(self) -> float:
        """Var(x | y)."""
        return self.tau2 / (1 + self.tau2)

    @property
    def information(self) -> float:
        """I(x; y) in nats."""
        return 0.5 * math.log(1 + 1 / self.tau2)

    def on_range(self, low: float, high: float) -> float:
        """The part of I(x; y) that log-SNR in [low, high] carries."""
        v = self.variance
        return 0.5 * sum(sign * math.log((1 + math.exp(a)) / (1 + v * math.exp(a))) for sign, a in ((1, high), (-1, low)))

    def pointwise(self, x: float, y: float) -> float:
        """log p(x | y) - log p(x)."""
        m, v = y / (1 + self.tau2), self.variance
        return -0.5 * math.log(v) - (x - m) ** 2 / (2 * v) + x**2 / 2

    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """x and y, (n, 1) float64."""
        x = torch.randn(n, 1, generator=generator, dtype=torch.float64)
        return x, x + math.sqrt(self.tau2) * torch.randn(n, 1, generator=generator, dtype=torch.float64)

    def without(self, z: Tensor, a: Tensor) -> Tensor:
        """E[e | z]."""
        return gaussian_denoiser(z, a, 0.0, 1.0)

    def with_(self, z: Tensor, a: Tensor, y: Tensor) -> Tensor:
        """E[e | z, y]."""
        return gaussian_denoiser(z, a, y / (1 + self.tau2), self.variance)


@dataclass(frozen=True)
class BinaryToy:
    """y = +-1 and x = y + s n."""

    s: float

    @property
    def information(self) -> float:
        """I(x; y) in nats, by numerical integration of the two densities."""
        x = np.linspace(-1 - 12 * self.s, 1 + 12 * self.s, 400_001)
        density = {y: np.exp(-((x - y) ** 2) / (2 * self.s**2)) / math.sqrt(2 * math.pi) / self.s for y in (-1, 1)}
        mixture = (density[-1] + density[1]) / 2
        ratio = np.log(np.maximum(density[1], 1e-300) / np.maximum(mixture, 1e-300))
        return float(np.trapezoid(density[1] * ratio, x))

    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """x and y, (n, 1) float64."""
        y = 2.0 * torch.randint(2, (n, 1), generator=generator).double() - 1
        return y + self.s * torch.randn(n, 1, generator=generator, dtype=torch.float64), y

    def with_(self, z: Tensor, a: Tensor, y: Tensor) -> Tensor:
        """E[e | z, y]."""
        return gaussian_denoiser(z, a, y, self.s**2)

    def without(self, z: Tensor, a: Tensor) -> Tensor:
        """E[e | z]: the two answers, weighted with the posterior of y."""
        alpha = torch.sigmoid(a).sqrt()
        plus = torch.sigmoid(2 * alpha * z / (torch.sigmoid(a) * self.s**2 + torch.sigmoid(-a)))
        one = torch.ones_like(z)
        return plus * self.with_(z, a, one) + (1 - plus) * self.with_(z, a, -one)
