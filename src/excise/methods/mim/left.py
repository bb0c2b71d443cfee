"""How much of what the words say is left, on states that were not learned from; and whether that is little enough to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from excise.randomness import seeded
from excise.resampling import Estimate, bootstrap, resample

WEIGHTS = ("simple", "log_snr")
"""How states are weighed: as predictions are compared, and as nats are. What stays at few or at many noise levels shows in one of them."""


@dataclass(frozen=True)
class Left:
    """The share of ||answer with the words - target||^2 that is left, by the weight by which more is; the base model's own answers make it 1.

    share of all pictures, with its 95 % interval over them
    worst of the pictures of the concept of which most is left
    """

    share: Estimate
    worst: float

    def within(self, tolerance: float) -> bool:
        """Whether no more than that is left of all concepts, with confidence, and of each one."""
        return self.share.high <= tolerance and self.worst <= tolerance

    def figures(self) -> dict[str, object]:
        """For the manifest."""
        share = self.share
        told = {"left": share.value, "left_low": share.low, "left_high": share.high, "left_worst": self.worst}
        return {**{name: round(value, 4) for name, value in told.items()}, "left_pictures": share.n}


class HeldOut:
    """States of pictures that nothing is learned from, their targets, and what the base model says there.

    picture (n,) int64, which picture each state is of
    owner   (n,) int64, which concept each state is of
    weights (2, n) float64 of the states, a row for each of `WEIGHTS`
    target, before (n, c, h, w): what prompts with the words should give, and what they gave
    """

    def __init__(self, picture: Tensor, owner: Tensor, weights: Tensor, target: Tensor, before: Tensor) -> None:
        self.picture = picture.unique(return_inverse=True)[1]
        self.owner = owner.new_empty(int(self.picture.max()) + 1).scatter_(0, self.picture, owner)
        self.weights, self.target = weights, target
        self.whole = self._by_picture(before)

    def left(self, answer: Tensor) -> Left:
        """What is left where `answer` (n, c, h, w) is what the prompts with the words give now."""
        now = self._by_picture(answer)
        picks = resample(now.shape[1], seeded(0))
        return max((self._left(*pair, picks) for pair in zip(now, self.whole, strict=True)), key=lambda left: left.share.value)

    def _left(self, now: Tensor, whole: Tensor, picks: Tensor) -> Left:
        own = [self.owner == concept for concept in self.owner.unique()]
        return Left(bootstrap(_ratio, (now, whole), picks)[0], max(float(_ratio(now[of], whole[of])) for of in own))

    def _by_picture(self, answer: Tensor) -> Tensor:
        """Weighed squared distances from the target, (2, pictures) float64."""
        error = (answer - self.target).float().square().flatten(1).sum(1).cpu().double()
        sums = torch.zeros(len(self.weights), len(self.owner), dtype=torch.float64)
        return sums.index_add_(1, self.picture, self.weights * error)


def _ratio(now: Tensor, whole: Tensor) -> Tensor:
    return now.sum(-1) / whole.sum(-1).clamp_min(1e-30)


@dataclass
class Watch:
    """Ends the learning when little enough is left.

    ask       what is left now
    tolerance how much may be; 0: all steps are taken
    left      what was left when it was asked last; None if it was not asked
    """

    ask: Callable[[], Left]
    tolerance: float
    left: Left | None = None

    def __call__(self) -> bool:
        """Whether to end."""
        self.left = self.ask()
        return self.left.within(self.tolerance)

    def figures(self, rounds: int) -> dict[str, object]:
        """For the manifest: what is left, and why learning ended; nothing if nobody asked."""
        if self.left is None:
            return {}
        why = "little enough was left" if self.left.within(self.tolerance) else f"all {rounds} rounds were learned"
        return {**self.left.figures(), "ended": why}
