"""The budget of an attack: what its tries cost, and how many of them it pays for. All in U-Net calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from excise.attacks.call_meter import CallMeter
from excise.models import Model
from excise.results.audit_result import Effort

T = TypeVar("T")


class Budget:
    """What an attack may spend on one model.

    An attack plans for all prompts, those included that show the concept without it. So it tries as often on every model, however many
    prompts are left to break.

    meter   counts what is spent
    model   whose sampler's number of steps and guidance a picture's cost depends on
    prompts how many there are in all
    effort  what was asked for and what the budget paid for, in "tries" or in "iterations"
    """

    def __init__(self, meter: CallMeter, model: Model, prompts: int) -> None:
        self.meter, self.model, self.prompts = meter, model, prompts
        self.effort: dict[str, Effort] = {}

    def cost(self, signed_guidance: float | None = None) -> int:
        """Of one picture by the model's own sampler, at its own guidance scale or at this one: 1 needs no unconditional call."""
        scale = self.model.guidance(self.model.sampler.guidance_scale) if signed_guidance is None else signed_guidance
        return self.model.sampler.steps * (1 if scale == 1 else 2)

    @property
    def cost_of_pairs(self) -> int:
        """Of one picture by an attack's own loop, which calls the U-Net with and without the prompt at every step."""
        return 2 * self.model.sampler.steps

    def pays_for(self, cost: int) -> int:
        """How many things of this cost what is left pays for."""
        return max(0, self.meter.left) // cost

    def iterations(self, wanted: int, each: int, fixed: int, shares: int = 1) -> int:
        """How many iterations one of equal shares of the budget pays for, at most `wanted`.

        each  cost of an iteration, for all prompts
        fixed cost of everything else, for all prompts
        """
        paid = min(wanted, max(0, self.meter.budget // shares - fixed) // each)
        least, whole = shares * (fixed + each), shares * (fixed + wanted * each)
        self.effort["iterations"] = Effort(paid=paid, asked=wanted, least_budget=least, whole_budget=whole)
        return paid

    def tries(self, values: Sequence[T], costs: Sequence[int]) -> Sequence[T]:
        """The first of these tries, as many as the budget pays for on all prompts, at least one.

        costs of each try, for one prompt
        """
        afforded = sum(spent <= self.meter.budget for spent in accumulate(self.prompts * cost for cost in costs))
        paid = min(len(values), max(1, afforded))
        self.effort["tries"] = Effort(paid=paid, asked=len(values))
        return values[:paid]
