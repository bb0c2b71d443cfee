"""MiM-MU's solver: what heads read against numpy's least squares, what is left against sums written out, when learning ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.states import States
from excise.erasure.trainable import Trainable
from excise.methods import get
from excise.methods.mim import erase as mim
from excise.methods.mim import heads
from excise.methods.mim.erase import Lessons
from excise.methods.mim.left import HeldOut, Left, Watch
from excise.models import Model
from excise.models.attending import Attended
from excise.resampling import Estimate

SMALL: dict[str, Any] = {"rounds": 3, "steps": 2, "batch": 2, "trajectories": 2, "sampler_steps": 2, "phrasings": "plain"}


def _erase(model: Model, *names: str, run: Run | None = None, **values: Any) -> WeightEdit:
    concepts = [model.catalog.resolve(name) for name in names or ("cat",)]
    return mim.erase(model, concepts, get("mim").parse({**SMALL, **values}), run or Run())  # type: ignore[arg-type]


def _seen(model: Model, states: States, text: Any) -> dict[str, Attended]:
    found: dict[str, Attended] = {}
    with torch.no_grad(), model.attending(lambda layer: found.update({layer.value: layer})):
        model.predict(states.latents, states.t, text[states.row])
    return found


def _lessons(model: Model, bank: PromptBank, states: States, trainable: Trainable, settings: Any) -> Lessons:
    """Lessons about these states."""
    made = Lessons(model, bank, torch.full((2,), 0.05, dtype=torch.float64), trainable, settings, Run())
    vars(made)["forgetting"] = states
    return made


@pytest.mark.parametrize(
    "values, again", [({}, False), ({"target": "null"}, False), ({"target": "exclude"}, True), ({"space": "guided"}, True)]
)
def test_what_heads_asked_is_the_target_where_it_can_be(canvas: Model, values: dict[str, Any], again: bool) -> None:
    """And where it is not, or where some states were not asked, the frozen model is asked as if nothing had been."""
    bank = PromptBank.of(canvas, [canvas.catalog.resolve("cat")], plain=True)
    row = torch.tensor([0, 1, 2, 0, 1])
    states = States(
        canvas.start_noise(row.tolist()), torch.tensor([900, 700, 500, 300, 20]), row, torch.tensor([0, 1, 2, 0, 1])
    )
    settings = get("mim").parse(values)
    with Trainable(canvas, subspaces.select(canvas, "kv")) as trainable:
        asked, fresh_ones, partly = (_lessons(canvas, bank, states, trainable, settings) for _ in range(3))
        with torch.no_grad():
            for parameter in trainable.parameters.values():
                parameter.mul_(1.1)  # what is learned is none of the frozen model's business
            for part in (torch.arange(3), torch.arange(3, 5)):
                asked.without(part)
            partly.without(torch.arange(3))
        right = fresh_ones.wanted(states, 0)
        assert torch.allclose(partly.targets, right, atol=1e-6)
        calls: list[int] = []
        hook = canvas.denoiser.register_forward_hook(lambda *_: calls.append(1))
        found = asked.targets
        hook.remove()
    assert torch.allclose(found, right, atol=1e-6) and bool(calls) == again


@pytest.mark.parametrize("target", ["masked", "null"])
@pytest.mark.parametrize("kind", ["canvas", "sd1"])
def test_values_are_the_least_squares_of_what_every_head_reads(kind: str, target: str, request: pytest.FixtureRequest) -> None:
    """X = (sum m u^T / n) (sum u u^T / n + hold (S + ridge))^-1 for the rows u that a head mixes and what it should read more, m."""
    model = request.getfixturevalue(kind)
    bank = PromptBank.of(model, [model.catalog.resolve("cat")], plain=True)
    generator = torch.Generator().manual_seed(0)
    row = torch.randint(len(bank.pairs), (5,), generator=generator)
    states = States(torch.randn(5, *model.latent_shape, generator=generator), torch.tensor([900, 700, 500, 300, 20]), row, row)
    settings = get("mim").parse({"hold": 0.7, "ridge": 0.05, "target": target})
    weights = torch.tensor([0.25, 1.5, 0.0, 1.25, 2.0], dtype=torch.float64)
    rows = bank.conditioned.tokens.flatten(0, 1).double()
    felt = rows.T @ rows / len(rows) + 0.01 * torch.eye(rows.shape[1], dtype=torch.float64)
    own, wanted = (_seen(model, states, text) for text in (bank.conditioned, bank.masked))
    if target == "null":
        wanted = _seen(model, states, bank.empty.expand(len(bank.pairs)))
    with Trainable(model, subspaces.select(model, "kv")) as trainable:
        lessons = _lessons(model, bank, states, trainable, settings)
        heads.align_reads(model, bank, states, lessons.without, weights, trainable, felt, settings)  # type: ignore[arg-type]
        changed = {
            name: (trainable.parameters[name] - trainable.before[name]).detach().numpy() for name in trainable.parameters
        }
    held = 0.7 * (felt + 0.05 * felt.diagonal().mean() * torch.eye(len(felt))).numpy()
    tokens = bank.conditioned.tokens[row].double().numpy()
    assert set(own) == {name for name in changed if name.endswith("to_v.weight")}
    for name, layer in own.items():
        maps = layer.probabilities().double().numpy()
        more = layer.by_head(wanted[name].read - layer.read).double().numpy()
        expected = []
        for head in range(layer.heads):
            mixed = (maps[:, head] @ tokens).reshape(-1, tokens.shape[2])
            short, weight = (
                more[:, head].reshape(len(mixed), -1),
                np.repeat(weights.numpy(), maps.shape[2])[:, None] / len(mixed),
            )
            expected.append((weight * short).T @ mixed @ np.linalg.inv((weight * mixed).T @ mixed + held))
        right = np.concatenate(expected)
        assert np.abs(changed[name] - right).max() < 2e-3 * np.abs(right).max() > 0
    assert not any(change.any() for name, change in changed.items() if name.endswith("to_k.weight"))


def test_heads_that_read_the_target_already_stay_as_they_are(canvas: Model) -> None:
    bank = PromptBank.of(canvas, [canvas.catalog.resolve("cat")], plain=True)
    same = PromptBank(bank.pairs, bank.owner, bank.masked, bank.masked, bank.empty)
    row = torch.arange(len(bank.pairs))
    states = States(canvas.start_noise(row.tolist()), torch.full_like(row, 500), row, row)
    rows = bank.masked.tokens.flatten(0, 1).double()
    with Trainable(canvas, subspaces.select(canvas, "kv")) as trainable:
        even = torch.ones(len(states), dtype=torch.float64)
        settings = get("mim").parse({})
        without = _lessons(canvas, same, states, trainable, settings).without
        heads.align_reads(canvas, same, states, without, even, trainable, rows.T @ rows / len(rows), settings)  # type: ignore[arg-type]
        assert all((trainable.parameters[name] - trainable.before[name]).abs().max() < 1e-5 for name in trainable.parameters)


def _held_out(target: Tensor, before: Tensor) -> HeldOut:
    picture = torch.tensor([7, 9, 7, 9, 11, 11])
    owner = torch.tensor([0, 0, 0, 0, 1, 1])
    weights = torch.stack([torch.ones(6), torch.tensor([3.0, 1, 0, 0, 1, 1])]).double()
    return HeldOut(picture, owner, weights, target, before)


def test_what_is_left_is_the_larger_share_of_both_weights_and_of_the_worst_concept() -> None:
    random = np.random.default_rng(0)
    target, before, now = (random.normal(size=(6, 2, 3, 3)) for _ in range(3))
    left = _held_out(torch.from_numpy(target), torch.from_numpy(before)).left(torch.from_numpy(now))

    def share(weights: list[float], of: list[int]) -> float:
        errors = [((answer - target) ** 2).reshape(6, -1).sum(1) for answer in (now, before)]
        return float(sum(weights[i] * errors[0][i] for i in of) / sum(weights[i] * errors[1][i] for i in of))

    found = [(share(weights, list(range(6))), weights) for weights in ([1.0] * 6, [3.0, 1, 0, 0, 1, 1])]
    value, weights = max(found)
    assert left.share.value == pytest.approx(value, rel=1e-5) and left.share.n == 3
    assert left.worst == pytest.approx(max(share(weights, [0, 1, 2, 3]), share(weights, [4, 5])), rel=1e-5)
    assert left.share.low < left.share.value < left.share.high


def test_the_base_has_all_left_and_the_target_nothing() -> None:
    target, before = torch.zeros(6, 1, 2, 2), torch.ones(6, 1, 2, 2)
    held_out = _held_out(target, before)
    assert held_out.left(before).share.value == held_out.left(before).worst == 1
    assert held_out.left(target).share.value == held_out.left(target).share.high == 0


@pytest.mark.parametrize(
    ("value", "high", "worst", "within"), [(0.01, 0.02, 0.02, True), (0.01, 0.03, 0.01, False), (0.01, 0.02, 0.5, False),
                                           (0.01, float("nan"), 0.01, False)],
)  # fmt: skip
def test_little_enough_is_with_confidence_and_of_every_concept(value: float, high: float, worst: float, within: bool) -> None:
    assert Left(Estimate(value, 0.0, high, 8), worst).within(0.02) is within


def test_learning_ends_when_little_enough_is_left_and_the_manifest_says_so(canvas: Model) -> None:
    start, ended, whole = (_erase(canvas, **values) for values in ({"rounds": 0}, {"tolerance": 0.999}, {"tolerance": 1e-9}))
    assert all(torch.equal(delta.dense(), start.deltas[name].dense()) for name, delta in ended.deltas.items()), (
        "no step was taken"
    )
    assert any(not torch.equal(delta.dense(), start.deltas[name].dense()) for name, delta in whole.deltas.items())
    told = ended.manifest.measurements
    assert told["ended"] == "little enough was left" and 0 <= told["left_low"] <= told["left"] <= told["left_high"] <= 0.999  # type: ignore[typeddict-item]
    assert told["left_pictures"] == mim.HELD_OUT and whole.manifest.measurements["ended"] == "all 3 rounds were learned"  # type: ignore[typeddict-item]
    assert not start.manifest.measurements, "the start alone looks at no picture more than it is made of"


def test_without_a_tolerance_nobody_looks(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "__call__", lambda self: pytest.fail("it was asked"))
    assert not _erase(canvas, tolerance=0).manifest.measurements


def test_a_run_that_ended_early_ends_there_again(canvas: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after its first round, resumed, and ended before its second: the same bits as without the stop."""
    answers: list[bool] = []

    def second(self: Watch) -> bool:
        self.left = self.ask()
        answers.append(len(answers) == 1)
        return answers[-1]

    monkeypatch.setattr(Watch, "__call__", second)
    whole = _erase(canvas)
    answers.clear()
    checkpoint = tmp_path / "run.safetensors"

    def stop(stage: str, done: int, total: int) -> None:
        if done == SMALL["steps"] and checkpoint.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _erase(canvas, run=Run(checkpoint=checkpoint, progress=stop))
    answers[:] = [False]
    resumed = _erase(canvas, run=Run(checkpoint=checkpoint))
    assert all(torch.equal(delta.dense(), whole.deltas[name].dense()) for name, delta in resumed.deltas.items())


def test_a_resumed_run_does_not_solve_its_start_again(canvas: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "run.safetensors"
    whole = _erase(canvas, run=Run(checkpoint=checkpoint))
    monkeypatch.setattr(heads, "align_reads", lambda *_: pytest.fail("solved again"))
    resumed = _erase(canvas, run=Run(checkpoint=checkpoint))
    assert all(torch.equal(delta.dense(), whole.deltas[name].dense()) for name, delta in resumed.deltas.items())
