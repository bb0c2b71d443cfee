"""The bilevel trainer on a problem whose solutions are known: in two dimensions, one of them free for the lower level.

lower = (x - 1)^2 / 2, upper = ((x - 3)^2 + (y - 2)^2) / 2. With a penalty lam the minimum is x = (3 + lam) / (1 + lam), y = 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from excise.pruning.bilevel import BilevelTrainer, Plan, StepLosses, cosine

SGD = partial(torch.optim.SGD, lr=0.1)


class Toy:
    """A point in the plane and the two losses of it."""

    def __init__(self, x: float = 0.0, y: float = 0.0) -> None:
        self.point = nn.Parameter(torch.tensor([x, y], dtype=torch.float64))

    def lower(self, step: int) -> Tensor:
        return (self.point[0] - 1) ** 2 / 2

    def upper(self, step: int) -> Tensor:
        return ((self.point[0] - 3) ** 2 + (self.point[1] - 2) ** 2) / 2

    def trainer(self, mode: Any, rates: tuple[float, float] = (0.1, 0.1), descent: Any = SGD, **plan: Any) -> BilevelTrainer:
        lower, upper = ((lambda done, rate=rate: rate) for rate in rates)
        return BilevelTrainer({"point": self.point}, self.lower, self.upper, Plan(mode, (lower, upper), **plan), descent)


def run(trainer: BilevelTrainer, steps: int) -> list[StepLosses]:
    return [trainer.step(step) for step in range(steps)]


@pytest.mark.parametrize(("lam", "x", "gap"), [(1.0, 2.0, 0.5), (10.0, 1.1818, 0.0165), (100.0, 1.0198, 0.0002)])
def test_a_penalty_comes_to_the_known_minimum(lam: float, x: float, gap: float) -> None:
    """A larger one closes the gap; the free direction goes where the upper level wants it, whatever the penalty."""
    toy = Toy()
    found = run(toy.trainer("penalty", (0.5, 1.5), lam=lam, inner=1), 2 * 600)
    assert toy.point[0].item() == pytest.approx((3 + lam) / (1 + lam), abs=1e-4) == pytest.approx(x, abs=1e-4)
    assert toy.point[1].item() == pytest.approx(2.0, abs=1e-3)
    assert found[-1].gap == pytest.approx(gap, abs=1e-4) and found[-1].repaired == pytest.approx(0.0, abs=1e-9)


def test_no_penalty_is_erasing_alone() -> None:
    toy, alone = Toy(), Toy()
    run(toy.trainer("penalty", lam=0.0, inner=4), 5 * 7)
    optimizer = SGD([alone.point])
    for step in range(7):
        optimizer.zero_grad()
        alone.upper(step).backward()
        optimizer.step()
    assert torch.equal(toy.point, alone.point) and alone.point[0] > 1.0


@pytest.mark.parametrize(("rate", "x"), [(0.05, 1.1495), (0.5, 2.2112)])
def test_alternating_settles_where_the_ratio_of_rates_says(rate: float, x: float) -> None:
    """Right after an upper step: e = x - 1 solves e = (1 - rate) 0.9^10 e + 2 rate. With a small rate that is near a penalty of 20."""
    toy = Toy()
    run(toy.trainer("alternating", (0.1, rate), every=10), 10 * 200)
    shrunk = 0.9**10 * (1 - rate)
    assert toy.point[0].item() == pytest.approx(1 + 2 * rate / (1 - shrunk), abs=1e-9) == pytest.approx(x, abs=1e-3)
    if rate == 0.05:
        assert toy.point[0].item() == pytest.approx((3 + 20) / (1 + 20), abs=0.06)


@pytest.mark.parametrize("descent", [SGD, torch.optim.AdamW])
def test_each_level_changes_its_own_student(descent: Any) -> None:
    toy = Toy()
    trainer = toy.trainer("penalty", inner=3, descent=descent)
    assert trainer.repaired is not None
    for step in range(12):
        theta, repaired = toy.point.detach().clone(), trainer.repaired["point"].clone()
        found = trainer.step(step)
        outer = (step + 1) % 4 == 0
        assert torch.equal(toy.point, theta) != outer and torch.equal(trainer.repaired["point"], repaired) == outer
        assert (found.upper is not None) == (found.gap is not None) == outer
    assert trainer.taken == {"lower": 9, "upper": 3}


def test_both_students_begin_at_the_same_place_and_share_no_memory() -> None:
    toy = Toy(5.0, 5.0)
    repaired = toy.trainer("penalty").repaired
    assert repaired is not None and torch.equal(repaired["point"], toy.point) and repaired["point"] is not toy.point.data


def test_a_warm_start_begins_every_cycle_at_the_repaired_one() -> None:
    toy = Toy()
    trainer = toy.trainer("penalty", inner=3, warm_start=True)
    assert trainer.repaired is not None
    run(trainer, 4)
    moved, repaired = toy.point.detach().clone(), trainer.repaired["point"].clone()
    assert moved[1] > 0 and repaired[1] == 0
    trainer.step(4)
    assert torch.equal(toy.point.detach(), repaired), "where the other was before its next step"


@pytest.mark.parametrize(("steps", "every"), [(29, 10), (30, 10), (7, 1), (3, 5)])
def test_alternating_takes_so_many_upper_steps(steps: int, every: int) -> None:
    trainer = Toy().trainer("alternating", every=every)
    found = run(trainer, steps)
    assert trainer.taken == {"lower": steps, "upper": steps // every} and trainer.repaired is None
    assert [step for step, each in enumerate(found) if each.upper is not None] == list(range(every - 1, steps, every))


def test_the_moments_of_the_levels_are_their_own() -> None:
    """The same two sequences of gradients, fed to two optimizers over one point by hand."""
    toy, other = Toy(), Toy()
    run(toy.trainer("alternating", (0.01, 0.02), descent=partial(torch.optim.AdamW, weight_decay=0.0), every=2), 9)
    lower, upper = (torch.optim.AdamW([other.point], lr=rate, weight_decay=0.0) for rate in (0.01, 0.02))
    for step in range(9):
        for optimizer, loss in ((lower, other.lower), (upper, other.upper))[: 1 + step % 2]:
            optimizer.zero_grad()
            loss(step).backward()
            optimizer.step()
    assert torch.equal(toy.point, other.point)
    assert lower.state_dict()["state"][0]["step"] == 9 and upper.state_dict()["state"][0]["step"] == 4


def test_without_an_upper_level_it_repairs() -> None:
    toy = Toy()
    trainer = BilevelTrainer({"point": toy.point}, toy.lower, None, Plan("penalty", (lambda done: 0.5, lambda done: 0.5)), SGD)
    found = run(trainer, 40)
    assert toy.point.tolist() == pytest.approx([1.0, 0.0]) and trainer.taken == {"lower": 40, "upper": 0}
    assert all(each.upper is None for each in found)


def test_each_level_counts_its_own_learning_rate() -> None:
    seen: dict[str, list[int]] = {"lower": [], "upper": []}

    def rate(level: str) -> Callable[[int], float]:
        return lambda done: seen[level].append(done) or 0.1  # type: ignore[func-returns-value]

    toy = Toy()
    plan = Plan("alternating", (rate("lower"), rate("upper")), every=3)
    run(BilevelTrainer({"point": toy.point}, toy.lower, toy.upper, plan, SGD), 7)
    assert seen == {"lower": list(range(7)), "upper": [0, 1]}


def test_the_cosine_is_that_of_the_two_gradients() -> None:
    def gradients(*values: float) -> Sequence[Tensor]:
        return [torch.tensor([each]) for each in values]

    assert cosine(gradients(1, 0), gradients(1, 1)) == pytest.approx(0.5**0.5)
    assert cosine(gradients(0, 0), gradients(1, 1)) == 0.0
    toy = Toy(2.0, 2.0)  # lower: (1, 0), upper: (-1, 0)
    assert run(toy.trainer("penalty", inner=1), 2)[1].cosine == -1.0
    assert run(Toy(2.0, 2.0).trainer("alternating", every=1, rates=(1e-9, 0.1)), 1)[0].cosine == pytest.approx(-1.0)


def test_a_gradient_is_clipped_by_its_norm() -> None:
    toy = Toy(11.0)
    toy.trainer("alternating", (1.0, 1.0), clip=2.0).step(0)
    assert toy.point.tolist() == pytest.approx([9.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("mode", ["penalty", "alternating"])
def test_a_loss_that_is_not_finite_ends_the_run(mode: Any) -> None:
    toy = Toy(float("inf"))
    with pytest.raises(FloatingPointError, match="the loss is inf at step 0"):
        toy.trainer(mode).step(0)
    assert toy.point[0] == float("inf"), "the student is in its place"
