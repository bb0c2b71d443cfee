"""SalUn: the mask against numpy and against gradients summed by hand; what is masked stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.targets import denoising_error, noised, relabelled_error
from excise.erasure.trainable import Trainable
from excise.erasure.training_pictures import Learning, learning_pictures, retained_pictures
from excise.methods import get
from excise.methods.salun import erase as salun
from excise.models import Model
from trained_methods import CAT, PICTURED, bank_of, settings_of

QUICK: dict[str, Any] = {**PICTURED, "parameters": "kv", "pseudo": "a dog", "retain": "a house", "retained": 3, "batch": 2}


@pytest.mark.parametrize("share", [0.5, 0.13, 1.0, 1e-9])
def test_the_largest_share_of_all_tensors_together(share: float) -> None:
    random = np.random.default_rng(0)
    values = {"a": random.integers(0, 4, (5, 7)).astype(np.float32), "b": random.integers(0, 4, 30).astype(np.float32)}
    masks = salun.top_share({name: torch.from_numpy(value) for name, value in values.items()}, share)
    flat = np.concatenate([value.ravel() for value in values.values()])
    count = max(1, round(share * len(flat)))
    expected = np.zeros(len(flat), bool)
    expected[np.argsort(-flat, kind="stable")[:count]] = True
    found = np.concatenate([mask.numpy().ravel() for mask in masks.values()])
    assert found.sum() == count and (found == expected).all()
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == {"a": (5, 7), "b": (30,)}


def test_saliency_is_the_size_of_the_summed_gradients(sd1: Model) -> None:
    settings, bank = settings_of("salun", **QUICK), bank_of(sd1)
    forget = Learning(torch.randn(3, *sd1.latent_shape, generator=torch.Generator().manual_seed(0)), torch.zeros(3).long())
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        found = salun.saliency(sd1, bank, forget, trainable, settings, Run())
        total = [torch.zeros_like(parameter) for parameter in trainable.parameters.values()]
        for number, part in enumerate(([0, 1], [2])):
            noisy, noise, t = noised(sd1, forget.latents[part], Run().generator(4, number))
            own, empty = (
                sd1.pipeline.unet(noisy, t, encoder_hidden_states=sd1.encode([p] * len(part)).tokens).sample
                for p in ("a cat", "")
            )
            error = -(noise - ((1 + 7.5) * own - 7.5 * empty)).square().mean()
            for sum_, gradient in zip(total, torch.autograd.grad(error, list(trainable.parameters.values())), strict=True):
                sum_ += gradient
        assert all(parameter.grad is None for parameter in trainable.parameters.values())
    for value, expected in zip(found.values(), total, strict=True):
        assert expected.any() and torch.allclose(value, expected.abs(), rtol=1e-3, atol=1e-5)


def test_masked_weights_stay_and_the_others_move(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: dict[str, torch.Tensor] = {}

    def remember(values: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
        masks.update(top_share(values, share))
        return masks

    top_share = salun.top_share
    monkeypatch.setattr(salun, "top_share", remember)
    edit = get("salun").erase(sd1, [CAT], settings_of("salun", **QUICK, density=0.25, lr=1e-3), Run())
    assert isinstance(edit, WeightEdit)
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.25 * total)
    moved = {name: edit.deltas[name].dense() != 0 for name in edit.deltas}
    assert sum(int(where.sum()) for where in moved.values()) > 0.2 * total
    for name, where in moved.items():
        assert not (where & ~masks[name]).any()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_with_density_one_it_is_training_without_a_mask(sd1: Model, share: float) -> None:
    """Torch's own Adam on the same pictures, to the bit: forgetting, and a share of learning what is to be kept."""
    settings = settings_of(
        "salun", **{**QUICK, "rounds": 1, "steps": 3, "retain_weight": share, "schedule": "constant", "density": 1}
    )
    edit = get("salun").erase(sd1, [CAT], settings, Run())
    bank = PromptBank.of_pairs(sd1, redirected(sd1, [CAT], "name", "a dog"))
    forget = learning_pictures(sd1, bank, settings, Run(), shows="conditioned")
    keep, texts = retained_pictures(sd1, [CAT], settings, Run())
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        adam = torch.optim.Adam(trainable.parameters.values(), lr=settings.lr)
        for step in range(3):
            generator = Run().generator(1, 0, step)
            clean, rows = forget.draw(2, generator)
            adam.zero_grad()
            loss = relabelled_error(sd1, clean, bank.conditioned[rows], bank.masked[rows], generator).mean()
            if share:
                clean, rows = keep.draw(2, generator)
                loss = loss + share * denoising_error(sd1, clean, texts[rows], generator).mean()
            loss.backward()
            adam.step()
        expected = trainable.deltas()
    assert edit.deltas.keys() == expected.keys() and len(expected) == 8
    assert all(torch.equal(edit.deltas[name].dense(), expected[name].dense()) for name in expected)


def test_weight_decay_is_refused_for_it_moves_masked_weights() -> None:
    with pytest.raises(ValueError, match="weight_decay"):
        settings_of("salun", weight_decay=0.01)


def test_without_weight_only_forgetting_is_left(sd1: Model) -> None:
    """What is to be kept makes no difference then, and does otherwise."""

    def erase(**values: Any) -> WeightEdit:
        edit = get("salun").erase(sd1, [CAT], settings_of("salun", **{**QUICK, "rounds": 1, **values}), Run())
        assert isinstance(edit, WeightEdit)
        return edit

    def changes(edit: WeightEdit) -> torch.Tensor:
        return torch.cat([edit.deltas[name].dense().flatten() for name in sorted(edit.deltas)])

    one, other = (changes(erase(retain_weight=0, retain=retain)) for retain in ("a house", "a tree"))
    assert torch.equal(one, other)
    assert not torch.equal(*(changes(erase(retain=retain)) for retain in ("a house", "a tree")))
