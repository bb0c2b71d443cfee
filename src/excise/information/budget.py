"""A budget of network evaluations: how a measurement spends it, and how much of it is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from excise.concepts import Concept
from excise.progress import Progress

BUDGET = 16_000
"""Network evaluations of a default run: about 40 s for the canvas on two CPU cores (ours)."""

BESIDE = 8_000
"""Network evaluations of the measurement that comes with an erasure: 20 s for the canvas on two CPU cores (ours)."""

QUICK = 2_400
"""The same where an erasure is measured quickly: 4 pictures of the concept and 1 of each other one of the canvas (ours)."""

NODES = 8
"""Noise levels per picture (ours). Pictures differ more than levels do, so more pictures narrow an interval more than more levels."""

PILOT_NODES = 12
MOST_PILOTS = 16
"""Noise levels and pictures of the pilot that finds where on the noise path the words matter (ours)."""

MOST_PICTURES = 96
"""Pictures of one concept at the default budget, at most (ours). With few concepts the rest of the budget stays unspent: the interval is narrow
enough."""

TARGET_SHARE = 4
"""Pictures of a measured concept for every picture of another one (ours)."""


@dataclass
class Tally:
    """Counts network evaluations and reports progress."""

    progress: Progress
    total: int
    done: int = 0

    def tick(self, evaluations: int) -> None:
        """Add evaluations that are done."""
        self.done += evaluations
        self.progress("measuring", min(self.done, self.total), self.total)


@dataclass(frozen=True)
class BudgetPlan:
    """What a budget pays for.

    counts pictures by concept label
    pilot  pictures of each measured concept that the pilot looks at
    total  network evaluations in all; never more than the budget
    """

    counts: Mapping[str, int]
    pilot: int
    total: int


def make_plan(
    budget: int,
    targets: Sequence[Concept],
    others: Sequence[Concept],
    *,
    models: int,
    making: int,
    given: Mapping[str, int],
) -> BudgetPlan:
    """Spread the budget over the concepts.

    targets concepts to measure
    others  concepts whose loss is measured
    models  1 for a model alone, 2 for a base model and an edited one
    making  evaluations that one picture costs
    given   label -> number of pictures that exist already and cost nothing

    Raises ValueError if the budget is too small for four pictures of each target and one of each other. The message names the least budget.
    """
    if not targets:
        raise ValueError("nothing to measure: name at least one concept")
    shares, costs = _spread(targets, others, models, making, given)
    once = sum(shares[label] * cost for label, cost in costs.items())
    pilot = max(1, min(MOST_PILOTS, budget // 1000, (budget - once) // (PILOT_NODES * 3)) // len(targets))
    ahead = pilot * len(targets) * PILOT_NODES * 3
    each = (budget - ahead) // once
    if each < 1:
        least = least_budget(targets, others, models=models, making=making, given=given)
        many = "1 concept" if len(costs) == 1 else f"{len(costs)} concepts"
        raise ValueError(f"a budget of {budget} evaluations is too small for {many}: at least {least} are needed")
    most = MOST_PICTURES * max(1, budget // BUDGET)
    counts = {label: min(most, share * each, given.get(label, most)) for label, share in shares.items()}
    return BudgetPlan(counts, pilot, ahead + sum(costs[label] * count for label, count in counts.items()))


def least_budget(
    targets: Sequence[Concept], others: Sequence[Concept], *, models: int, making: int, given: Mapping[str, int]
) -> int:
    """The least budget that `make_plan` takes, with the same arguments."""
    shares, costs = _spread(targets, others, models, making, given)
    return len(targets) * PILOT_NODES * 3 + sum(shares[label] * cost for label, cost in costs.items())


def _spread(
    targets: Sequence[Concept], others: Sequence[Concept], models: int, making: int, given: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Label -> its share of the pictures, and what each of its pictures costs."""
    shares = {c.label: 1 for c in others} | {c.label: TARGET_SHARE for c in targets}
    branches = {c.label: 3 for c in others} | {c.label: 4 for c in targets}  # the floor's rewording is asked for targets only
    return shares, {label: (0 if label in given else making) + NODES * n * models for label, n in branches.items()}
