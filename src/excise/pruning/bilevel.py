"""Two losses over one set of parameters: erase (upper level) among the students that are repaired well (lower level).

min over theta of upper(theta), subject to theta being a minimum of lower (arXiv 2412.15341). Two algorithms:

penalty      the paper's: theta goes down upper(theta) + lam (lower(theta) - lower(vartheta)), while a second student vartheta does nothing but
             go down lower, `inner` steps before each of theta's. The gradient in theta is divided by 1 + lam (ours), so that the size of a step
             does not depend on lam. vartheta does not enter it: what it gives is the gap, how much worse than a repaired student theta is.
alternating  the authors' code: one student; every step goes down lower, and after every `every` of them another one goes down upper. Each
             level has an optimizer, whose moments are its own.

Both losses are functions of a step's number, so that any eraser can be the one and any repair the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from excise.pruning.distill_settings import Mode

Loss = Callable[[int], Tensor]
Rate = Callable[[int], float]
"""Learning rate of a level's own step number, from 0 on."""
Descent = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Plan:
    """How the levels are put together, and the learning rate of each; see above.

    warm_start  penalty: theta begins every cycle after the first anew where vartheta is (ours)
    clip        largest norm of a gradient; None: none
    """

    mode: Mode
    rates: tuple[Rate, Rate]
    lam: float = 100.0
    inner: int = 20
    every: int = 10
    warm_start: bool = False
    clip: float | None = None

    def outer(self, step: int) -> bool:
        """Whether a step takes one of the upper level: in mode penalty it is that alone, in mode alternating after one of the lower."""
        return (step + 1) % (self.inner + 1 if self.mode == "penalty" else self.every) == 0


@dataclass(frozen=True)
class StepLosses:
    """What a step saw; None where it did not look.

    lower, upper of the student theta; repaired: lower of vartheta
    gap          lower of theta less that of vartheta, on one batch
    cosine       of the two levels' gradients in theta
    """

    lower: float | None = None
    upper: float | None = None
    repaired: float | None = None
    gap: float | None = None
    cosine: float | None = None


def adamw(parameters: Sequence[nn.Parameter], weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """The published optimizer; the learning rate is set at every step."""
    return torch.optim.AdamW(parameters, weight_decay=weight_decay)


class BilevelTrainer:
    """Trains parameters in place; `step` takes one step after the other.

    parameters theta, by name: what the losses are computed with
    lower, upper losses of a step; upper None: repairing alone
    descent    makes the optimizer of a level
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], lower: Loss, upper: Loss | None, plan: Plan, descent: Descent = adamw
    ) -> None:
        self.parameters, self.lower, self.upper, self.plan = dict(parameters), lower, upper, plan
        own = list(self.parameters.values())
        self.optimizers = {"lower": descent(own), "upper": descent(own)}
        self.taken = {"lower": 0, "upper": 0}
        two = upper is not None and plan.mode == "penalty"
        self.repaired = {name: each.detach().clone() for name, each in self.parameters.items()} if two else None

    def step(self, step: int) -> StepLosses:
        """Take step number `step`, from 0 on. Raises FloatingPointError for a loss that is not finite."""
        if self.upper is None:
            return StepLosses(lower=self._repair(step)[0])
        if self.repaired is None:
            return self._alternate(step, self.upper)
        if self.plan.outer(step):
            return self._erase_penalised(step, self.upper, self.repaired)
        if self.plan.warm_start and step and self.plan.outer(step - 1):
            self._begin_at(self.repaired)
        with self._holding(self.repaired):
            return StepLosses(repaired=self._repair(step)[0])

    def _repair(self, step: int) -> tuple[float, list[Tensor]]:
        value, gradients = self._gradients(self.lower, step)
        self._descend("lower", gradients)
        return value, gradients

    def _alternate(self, step: int, upper: Loss) -> StepLosses:
        value, gradients = self._repair(step)
        if not self.plan.outer(step):
            return StepLosses(lower=value)
        above, others = self._gradients(upper, step)
        self._descend("upper", others)
        return StepLosses(lower=value, upper=above, cosine=cosine(others, gradients))

    def _erase_penalised(self, step: int, upper: Loss, repaired: Mapping[str, Tensor]) -> StepLosses:
        above, gradients = self._gradients(upper, step)
        below, others = self._gradients(self.lower, step)
        with self._holding(repaired), torch.no_grad():
            best = float(self.lower(step))
        lam = self.plan.lam
        self._descend("upper", [(one + lam * two) / (1 + lam) for one, two in zip(gradients, others, strict=True)])
        return StepLosses(below, above, best, below - best, cosine(gradients, others))

    def _gradients(self, loss: Loss, step: int) -> tuple[float, list[Tensor]]:
        """A loss and its gradient; zeros for what it does not depend on."""
        value = loss(step)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss is {value.item()} at step {step}; try smaller learning rates")
        own = list(self.parameters.values())
        found = torch.autograd.grad(value, own, allow_unused=True)
        return float(value.detach()), [
            torch.zeros_like(each) if one is None else one for each, one in zip(own, found, strict=True)
        ]

    def _descend(self, level: str, gradients: Sequence[Tensor]) -> None:
        """A step of a level's optimizer at its own learning rate."""
        optimizer, own = self.optimizers[level], list(self.parameters.values())
        for parameter, gradient in zip(own, gradients, strict=True):
            parameter.grad = gradient.clone()  # clipped in place, while a caller still looks at it
        if self.plan.clip is not None:
            nn.utils.clip_grad_norm_(own, self.plan.clip)
        for group in optimizer.param_groups:
            group["lr"] = self.plan.rates[level == "upper"](self.taken[level])
        optimizer.step()
        self.taken[level] += 1
        for parameter in own:
            parameter.grad = None

    @torch.no_grad()
    def _begin_at(self, repaired: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(repaired[name])

    @contextmanager
    def _holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """vartheta in the place of theta inside the block; steps taken there change it in place."""
        theta = {name: parameter.data for name, parameter in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                parameter.data = tensors[name]
            yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.data = theta[name]


def cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Of two gradients, each over all parameters; 0 where one of them vanishes."""
    inner, first, second = (
        sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))
        for left, right in ((one, other), (one, one), (other, other))
    )
    return inner / (first * second) ** 0.5 if first and second else 0.0
