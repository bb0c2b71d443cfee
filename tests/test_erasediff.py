"""EraseDiff: the multiplier's rules on hand-worked gradients, looking ahead and back, its limits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error, relabelled_error
from excise.erasure.trainable import Trainable
from excise.erasure.training_pictures import learning_pictures, retained_pictures
from excise.methods import get
from excise.methods.erasediff import erase as erasediff
from excise.models import Model
from trained_methods import CAT, PICTURED, settings_of

QUICK: dict[str, Any] = {**PICTURED, "parameters": "kv", "pseudo": "a dog", "retain": "a house; a tree", "retained": 4}


def erase(model: Model, **values: Any) -> WeightEdit:
    edit = get("erasediff").erase(model, [CAT], settings_of("erasediff", **{**QUICK, **values}), Run())
    assert isinstance(edit, WeightEdit)
    return edit


def same(one: WeightEdit, other: WeightEdit) -> bool:
    return one.deltas.keys() == other.deltas.keys() and all(
        torch.equal(one.deltas[name].dense(), other.deltas[name].dense()) for name in one.deltas
    )


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"multiplier": 0.7}, 0.7),
        ({"balance": "cosine", "eta": 0.5}, 0.5 - 3 / 5),  # a = (3, 4), b = (2, 0)
        ({"balance": "cosine", "eta": 0.9}, 0.9 - 3 / 5),
        ({"balance": "bome", "eta": 2.0}, (2 * (6 - 1) - 6) / 4),
        ({"balance": "bome", "eta": 0.1}, (0.1 * 5 - 6) / 4),
    ],
)
def test_the_multiplier_by_hand(values: dict[str, Any], expected: float) -> None:
    point = nn.Parameter(torch.tensor([3.0, 1.0]))
    kept, forgotten = 3 * point[0] + 4 * point[1], 2 * point[0]
    trainable = SimpleNamespace(parameters={"point": point})
    found = erasediff.weight(kept, forgotten, 1.0, trainable, settings_of("erasediff", **values))  # type: ignore[arg-type]
    assert found == pytest.approx(max(0.0, expected))


def test_no_gradient_of_forgetting_needs_no_weight() -> None:
    point = nn.Parameter(torch.tensor([1.0]))
    for rule in ("cosine", "bome"):
        settings = settings_of("erasediff", balance=rule)
        trainable: Any = SimpleNamespace(parameters={"point": point})
        assert erasediff.weight(3 * point.sum(), 0 * point.sum(), 0.0, trainable, settings) == 0


def test_looking_ahead_puts_every_weight_back(sd1: Model) -> None:
    settings = settings_of("erasediff", balance="bome", inner_steps=3, lr=0.01)
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        before = {name: parameter.detach().clone() for name, parameter in trainable.parameters.items()}
        parameters, moved = list(trainable.parameters.values()), []

        def forgetting(k: int) -> torch.Tensor:
            moved.append(any(not torch.equal(p, before[name]) for name, p in trainable.parameters.items()))
            return torch.stack([parameter.square().sum() for parameter in parameters]).sum()

        low = erasediff.lookahead(trainable, forgetting, settings)
        assert moved == [False, True, True]
        assert 0 < low < forgetting(0).item()
        assert all(torch.equal(parameter, before[name]) for name, parameter in trainable.parameters.items())
        assert erasediff.lookahead(trainable, forgetting, settings_of("erasediff")) == 0


def test_without_a_multiplier_it_is_fine_tuning_on_what_is_kept(sd1: Model) -> None:
    keeping = erase(sd1, multiplier=0.0)
    assert keeping.deltas and same(keeping, erase(sd1, multiplier=0.0, pseudo="a bird"))
    assert not same(erase(sd1), erase(sd1, pseudo="a bird"))


@pytest.mark.parametrize("multiplier", [0.0, 0.7])
def test_it_is_adam_on_keeping_plus_lambda_times_forgetting(sd1: Model, multiplier: float) -> None:
    """Torch's own Adam on the same pictures, to the bit; without a multiplier that is fine-tuning on what is to be kept."""
    settings = settings_of(
        "erasediff", **{**QUICK, "rounds": 1, "steps": 3, "schedule": "constant", "lr": 1e-3, "multiplier": multiplier}
    )
    edit = get("erasediff").erase(sd1, [CAT], settings, Run())
    assert isinstance(edit, WeightEdit)
    bank = PromptBank.of_pairs(sd1, redirected(sd1, [CAT], "name", "a dog"))
    forget = learning_pictures(sd1, bank, settings, Run(), shows="conditioned")
    keep, texts = retained_pictures(sd1, [CAT], settings, Run())
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        adam = torch.optim.Adam(trainable.parameters.values(), lr=1e-3)
        for step in range(3):
            generator = Run().generator(3, 0, step)
            clean, rows = keep.draw(2, generator)
            loss = denoising_error(sd1, clean, texts[rows], generator).mean()
            if multiplier:
                generator = Run().generator(1, 0, step)
                clean, rows = forget.draw(2, generator)
                forgetting = relabelled_error(sd1, clean, bank.conditioned[rows], bank.masked[rows], generator).mean()
                loss = loss + multiplier * forgetting
            adam.zero_grad()
            loss.backward()
            adam.step()
        expected = trainable.deltas()
    assert edit.deltas.keys() == expected.keys() and len(expected) == 8
    assert all(torch.equal(edit.deltas[name].dense(), expected[name].dense()) for name in expected)


def test_adaptive_balances_run(sd1: Model) -> None:
    fixed = erase(sd1)
    for rule in ("cosine", "bome"):
        assert not same(fixed, erase(sd1, balance=rule)), "smoke test"


def test_a_concept_taken_for_itself_is_forgotten_already(sd1: Model) -> None:
    clean, text = torch.randn(2, *sd1.latent_shape), sd1.encode(["a cat", "a dog"])
    error = relabelled_error(sd1, clean, text, text, torch.Generator().manual_seed(0))
    assert not error.any()
    assert relabelled_error(sd1, clean, text, text[[1, 0]], torch.Generator().manual_seed(0)).all()


@pytest.mark.parametrize("which", ["sd1", "sd2"])
def test_keeping_is_the_loss_the_model_was_trained_with(which: str, request: pytest.FixtureRequest) -> None:
    """Against diffusers' own scheduler: its noisy latents, its velocity."""
    model = request.getfixturevalue(which)
    clean, text = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(5)), model.encode(["a cat"] * 3)
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(1000, (3,), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    scheduler = model.pipeline.scheduler
    noisy = scheduler.add_noise(clean, noise, t)
    target = noise if which == "sd1" else scheduler.get_velocity(clean, noise, t)
    with torch.no_grad():
        output = model.pipeline.unet(noisy, t, encoder_hidden_states=text.tokens).sample
        found = denoising_error(model, clean, text, torch.Generator().manual_seed(0))
    assert torch.allclose(found, (output - target).square().mean((1, 2, 3)), rtol=1e-4)
