"""Three Gaussian modes in the plane with exact flow-matching velocities, and an ideally redirected model: the toy of RevAm's reconstruction.

x_s = (1 - s) x + s e from noise (s = 1) to data (s = 0); velocity E[e - x | x_s]. The erased model is v - eta (v* - u) away from the
unconditional u, that is u - eta (v* - u). A sample hits if it lands in the target mode, within 3.5 standard deviations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.attacks.revam import RevamSettings, steering_policy

RADIUS, SPREAD, STEPS = 3.0, 0.5, 28
MODES = torch.tensor(
    [[RADIUS * math.cos(a), RADIUS * math.sin(a)] for a in (math.pi / 2 + 2 * math.pi * k / 3 for k in range(3))],
    dtype=torch.float64,
)
GRID = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64).tolist()

Velocity = Callable[[Tensor, float, int], Tensor]


def velocities(z: Tensor, s: float) -> tuple[Tensor, Tensor]:
    """Exact u (all modes) and v* (the target mode, the first), (n, 2)."""
    variance = ((1 - s) * SPREAD) ** 2 + s**2
    away = z[:, None] - (1 - s) * MODES
    single = (s - (1 - s) * SPREAD**2) / variance * away - MODES
    weight = (-away.square().sum(2) / (2 * variance)).softmax(1)
    return (weight[..., None] * single).sum(1), single[:, 0]


@dataclass(frozen=True)
class Erased:
    """The ideally redirected model; eta = 0 sends the prompt to the unconditional prediction."""

    eta: float

    def __call__(self, z: Tensor, s: float) -> tuple[Tensor, Tensor]:
        """u and the erased model's prediction with the prompt."""
        u, v = velocities(z, s)
        return u, u - self.eta * (v - u)


def flow(z: Tensor, velocity: Velocity) -> Tensor:
    """Samples from noise (n, 2) by Euler steps."""
    for k in range(STEPS):
        z = z + (GRID[k + 1] - GRID[k]) * velocity(z, GRID[k], k)
    return z


def noise(n: int, seed: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hit_rate(x: Tensor) -> float:
    return float(((x - MODES[0]).norm(dim=1) < 3.5 * SPREAD).double().mean())


def swept(model: Erased, kappa: float, z: Tensor) -> Tensor:
    """Samples of the signed guidance sweep."""

    def velocity(z: Tensor, s: float, k: int) -> Tensor:
        u, v = model(z, s)
        return u + kappa * (v - u)

    return flow(z, velocity)


def steered(model: Erased, actions: Tensor, z: Tensor, settings: RevamSettings, direction: Tensor | None = None) -> Tensor:
    """Samples with the prediction steered at every step; actions (n, STEPS, 2); direction (STEPS, 2) instead of guidance."""
    rho, phi = steering_policy.bounded(actions, settings.largest_rho)

    def velocity(z: Tensor, s: float, k: int) -> Tensor:
        u, v = model(z, s)
        towards = v - u if direction is None else direction[k].expand_as(v)
        return steering_policy.steer(v, towards, rho[:, k], phi[:, k])

    return flow(z, velocity)


def learned(model: Erased, settings: RevamSettings, seed: int, *, fidelity: bool, direction: Tensor | None = None) -> float:
    """Hit rate of the mean policy after the RL search, on fresh noise."""
    random = torch.Generator().manual_seed(seed)

    def rewards(actions: Tensor) -> Tensor:
        starts = torch.randn(settings.prompts, 2, generator=random, dtype=torch.float64).repeat_interleave(settings.group, 0)
        x = steered(model, actions, starts, settings, direction)
        scores = -(x[:, None] - MODES).square().sum(2) / (2 * SPREAD**2)
        found = [scores.log_softmax(1)[:, 0], scores.logsumexp(1)][: 1 + fidelity]
        return torch.stack(found).view(-1, settings.prompts, settings.group)

    search = steering_policy.optimise(STEPS, rewards, settings, random)
    policy = list(itertools.islice(search, settings.iterations))[-1]
    z = noise(2000, seed + 1)
    return hit_rate(steered(model, policy.mean.detach().expand(len(z), -1, -1), z, settings, direction))
