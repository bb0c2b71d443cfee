"""The gradient loop of the trained methods, against a loop written by hand, and the settings that all of them have."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from excise.erasure.run import Run
from excise.erasure.training import train
from excise.erasure.training_settings import Trained
from excise.methods import get, methods

TARGETS = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
"""Of every round and step."""


def _toy() -> SimpleNamespace:
    return SimpleNamespace(parameters={"w": nn.Parameter(torch.ones(4))})


def _trained(settings: Trained, **options: Any) -> Tensor:
    toy = _toy()
    (weight,) = toy.parameters.values()
    train(toy, lambda round_: lambda step: (weight - TARGETS[round_, step]).square().sum(), settings, Run(), **options)
    return weight.detach()


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize(
    ("weight_decay", "clip", "clips"), [(0.0, None, True), (0.1, None, True), (0.0, 0.5, True), (0.0, 0.5, False)]
)
def test_it_is_the_plain_loop(schedule: str, weight_decay: float, clip: float | None, clips: bool) -> None:
    settings = Trained(rounds=2, steps=3, lr=0.1, schedule=schedule, weight_decay=weight_decay, clip=clip)  # type: ignore[arg-type]
    weight = nn.Parameter(torch.ones(4))
    optimizer = (torch.optim.AdamW if weight_decay else torch.optim.Adam)([weight], lr=0.1, weight_decay=weight_decay)
    for done, target in enumerate(TARGETS.flatten(0, 1)):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * done / 6)) / 2 if schedule == "cosine" else 0.1
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        if clip and clips:
            nn.utils.clip_grad_norm_([weight], clip)
        optimizer.step()
    assert torch.equal(_trained(settings, clips=clips), weight.detach())


def test_another_optimizer_gets_the_parameters_and_the_rate() -> None:
    given: list[Any] = []

    def descent(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        given.append((len(parameters), lr))
        return torch.optim.SGD(parameters, lr=lr)

    found = _trained(Trained(rounds=1, steps=1, lr=0.25, schedule="constant"), descent=descent)
    assert given == [(1, 0.25)]
    assert torch.allclose(found, torch.ones(4) - 0.25 * 2 * (1 - TARGETS[0, 0]))


def test_every_trained_method_has_the_same_settings() -> None:
    """One class has them; a method changes a default or a range. MiM-MU's defaults are its own."""
    trained = [method for method in methods().values() if "lr" in method.settings.model_fields]
    assert len(trained) >= 10 and all(issubclass(method.settings, Trained) for method in trained)
    assert {name: get("mim").settings.model_fields[name].default for name in Trained.model_fields} == {
        "rounds": 3, "steps": 24, "batch": 8, "lr": 2e-3, "schedule": "cosine", "weight_decay": 0.0, "clip": None,
    }  # fmt: skip


def test_mim_without_a_metric_alone_has_weight_decay() -> None:
    assert get("mim").parse({"weight_decay": 0.01, "metric": "none", "start": "base"})
    with pytest.raises(ValueError, match="weight_decay belongs to AdamW, which takes the steps with metric=none; give both"):
        get("mim").parse({"weight_decay": 0.01})
