"""RevAm's maths: steering a prediction in a plane, and group-relative policy optimisation of how (arXiv 2510.03302).

No formula of the paper could be read, and it has no public code: this is a reconstruction from its abstract and reviews. Two
bounded scalars per step (rho, phi) rescale and rotate the predicted velocity; GRPO with rewards of finished pictures; identity
at the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from excise.attacks.revam import RevamSettings

TOLERANCE = 1e-5
"""A direction with less of itself across the prediction, relative to it, is none: there is no rotation then."""


def steer(v: Tensor, d: Tensor, rho: Tensor, phi: Tensor) -> Tensor:
    """v' = rho |v| (cos phi e1 + sin phi e2): e1 along v, e2 along what is left of d across v; shape of v.

    v, d     (b, ...) the prediction with the prompt and a direction, such as its difference to the one without
    rho, phi (b,); 1 and 0 give v bit for bit. Where d has no part across v, phi counts as 0: it would only shrink v
    """
    flat, other = v.flatten(1), d.flatten(1)
    rho, phi = rho.to(flat)[:, None], phi.to(flat)[:, None]
    size = flat.norm(dim=1, keepdim=True)
    e1 = flat / size.clamp_min(torch.finfo(flat.dtype).tiny)
    across = other - (other * e1).sum(1, keepdim=True) * e1
    length = across.norm(dim=1, keepdim=True)
    there = length > TOLERANCE * size
    e2 = across / torch.where(there, length, torch.ones_like(length))
    phi = torch.where(there, phi, torch.zeros_like(phi))
    return (rho * (phi.cos() * flat + phi.sin() * size * e2)).view_as(v)


def angles(v: Tensor, d: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """rho and phi, (b,), with which `steer` comes as close to `wanted` as it can: exact where it lies in the plane of v and d."""
    flat, other, goal = v.flatten(1), d.flatten(1), wanted.flatten(1)
    size = flat.norm(dim=1, keepdim=True)
    e1 = flat / size
    across = other - (other * e1).sum(1, keepdim=True) * e1
    e2 = across / across.norm(dim=1, keepdim=True)
    along, beside = (goal * e1).sum(1), (goal * e2).sum(1)
    return torch.hypot(along, beside) / size[:, 0], torch.atan2(beside, along)


@dataclass(frozen=True)
class Policy:
    """Independent normal laws of log rho and phi at every step.

    mean   (steps, 2)
    spread (2,) standard deviations, fixed
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def identity(cls, steps: int, spread: tuple[float, float]) -> Policy:
        """The policy whose mean changes nothing."""
        return cls(torch.zeros(steps, 2, requires_grad=True), torch.tensor(spread))

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Actions, (count, steps, 2)."""
        noise = torch.randn(count, *self.mean.shape, generator=generator)
        return self.mean.detach() + self.spread * noise

    def log_prob(self, actions: Tensor) -> Tensor:
        """(count, steps)."""
        distance = (actions - self.mean) / self.spread
        return -(distance.square() / 2 + self.spread.log() + math.log(2 * math.pi) / 2).sum(2)

    def divergence(self) -> Tensor:
        """KL to the policy that changes nothing, (steps,)."""
        return (self.mean / self.spread).square().sum(1) / 2


def bounded(actions: Tensor, largest_rho: float) -> tuple[Tensor, Tensor]:
    """rho in [1 / largest, largest] and phi in [-pi, pi] of actions (..., 2)."""
    limit = math.log(largest_rho)
    return actions[..., 0].clamp(-limit, limit).exp(), actions[..., 1].clamp(-math.pi, math.pi)


def advantages(rewards: Tensor, weights: Tensor, largest: float) -> Tensor:
    """How much better than its group each rollout was, (prompts, group): every reward is standardised within the group, then their sum.

    rewards (k, prompts, group); weights (k,). Without the clipping the sum over a group is 0; equal rewards give 0
    """
    total = (weights.view(-1, 1, 1) * _standardised(rewards.float())).sum(0)
    return _standardised(total).clamp(-largest, largest)


def finite(rewards: Tensor) -> Tensor:
    """Rewards (..., group) in which those that are not finite are as bad as the worst finite one of their group; 0 if none is."""
    known = rewards.isfinite()
    worst = rewards.masked_fill(~known, math.inf).amin(-1, keepdim=True)
    return rewards.where(known, worst.where(worst.isfinite(), 0.0))


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(-1, keepdim=True)) / (values.std(-1, keepdim=True, correction=0) + 1e-6)


def objective(
    policy: Policy, actions: Tensor, before: Tensor, gain: Tensor, chosen: Tensor, clip: float, beta: float
) -> Tensor:
    """What is maximised: the clipped surrogate over the chosen steps, minus beta times the divergence from changing nothing.

    actions (n, steps, 2); before (n, steps) their log probabilities when they were drawn; gain (n,) advantages; chosen (m,) steps
    """
    ratio = (policy.log_prob(actions) - before)[:, chosen].exp()
    surrogate = torch.minimum(ratio * gain[:, None], ratio.clamp(1 - clip, 1 + clip) * gain[:, None])
    return surrogate.mean() - beta * policy.divergence()[chosen].mean()


def optimise(
    steps: int, rewards: Callable[[Tensor], Tensor], settings: RevamSettings, generator: Generator
) -> Iterator[Policy]:
    """GRPO from the identity; yields the policy after every iteration, without end.

    rewards  actions (prompts * group, steps, 2), a group's rows in succession -> (k, prompts, group)
    """
    policy = Policy.identity(steps, (settings.spread_rho, settings.spread_phi))
    optimizer = torch.optim.Adam([policy.mean], lr=settings.lr)
    weights = torch.tensor(settings.weights)
    while True:
        actions = policy.draw(settings.prompts * settings.group, generator)
        with torch.no_grad():
            before = policy.log_prob(actions)
            found = finite(rewards(actions))
            gain = advantages(found, weights[: len(found)], settings.largest_advantage).flatten()
        for _ in range(settings.epochs):
            chosen = torch.randperm(steps, generator=generator)[: math.ceil(settings.share * steps)]
            loss = -objective(policy, actions, before, gain, chosen, settings.clip, settings.beta)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield policy
