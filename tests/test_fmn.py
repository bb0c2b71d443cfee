"""Forget-Me-Not: attention maps against diffusers' own, the loss against numpy, tokens found, where gradients go."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from excise.edits import WeightEdit
from excise.erasure import subspaces
from excise.erasure.attention import named_tokens, token_positions
from excise.erasure.run import Run
from excise.erasure.trainable import Trainable
from excise.methods import get
from excise.methods.fmn import erase as fmn
from excise.models import Model
from excise.models.attending import Attended
from trained_methods import CAT, PICTURED, bank_of, settings_of


def test_probabilities_are_those_of_diffusers(sd1: Model) -> None:
    attention = list(sd1.cross_attentions().values())[-1]
    x = torch.randn(2, 9, attention.to_q.in_features, generator=torch.Generator().manual_seed(0))
    text = sd1.encode(["a cat", "a dog on a mat"]).tokens
    with torch.no_grad():
        query, key = attention.to_q(x), attention.to_k(text)
        found = Attended("", query, key, query, attention.heads, attention.scale).probabilities()
        theirs = attention.get_attention_scores(attention.head_to_batch_dim(query), attention.head_to_batch_dim(key))
    assert found.shape[1] > 1
    assert torch.allclose(found.flatten(0, 1), theirs, atol=1e-6)


def test_maps_of_every_layer_are_seen_and_nothing_is_changed(sd1: Model) -> None:
    x, t, text = torch.randn(2, *sd1.latent_shape), torch.tensor([10, 900]), sd1.encode(["a cat", ""])
    with torch.no_grad():
        plain = sd1.predict(x, t, text)
        with sd1.attention_maps() as maps:
            assert torch.equal(sd1.predict(x, t, text), plain)
        assert torch.equal(sd1.predict(x, t, text), plain)
    assert len(maps) == len(sd1.cross_attentions()) > 1, "and none after the block"
    for found in maps:
        assert torch.allclose(found.sum(3), torch.ones(found.shape[:3]), atol=1e-5)


def test_the_loss_is_one_norm_over_all_layers() -> None:
    random = np.random.default_rng(0)
    maps = [random.random((2, 3, pixels, 5)).astype(np.float32) for pixels in (4, 9)]
    named = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]], bool)
    found = fmn.resteering([torch.from_numpy(m) for m in maps], torch.from_numpy(named))
    for row in range(2):
        entries = np.concatenate([m[row][:, :, named[row]].ravel() for m in maps])
        assert float(found[row]) == pytest.approx(np.linalg.norm(entries), rel=1e-5)
        assert 0 <= float(found[row]) <= len(entries) ** 0.5


def test_tokens_of_the_concept_are_found(canvas: Model) -> None:
    """One token per letter; the start token is row 0."""
    assert token_positions(canvas, "a cat on a mat", ["cat"]) == [2, 3, 4]
    assert token_positions(canvas, "a cat on a mat", ["at", "cat"]) == [2, 3, 4], "the longest phrase"
    assert token_positions(canvas, "a cat on a mat", ["cat"], end=True) == [2, 3, 4, 11]
    assert token_positions(canvas, "a dog", ["cat"], end=True) == []
    cat = canvas.catalog.resolve("cat")
    bank = bank_of(canvas, cat)
    assert named_tokens(canvas, bank, [cat], end=False).nonzero().tolist() == [[0, 2], [0, 3], [0, 4]]
    strange = replace(bank, pairs=(replace(bank.pairs[0], prompt="a house"),))
    with pytest.raises(ValueError, match="'a house' has no token of object:cat"):
        named_tokens(canvas, strange, [cat], end=True)


def test_values_of_the_last_layer_do_not_matter(sd1: Model) -> None:
    bank, last = bank_of(sd1), [name for name in sd1.cross_attentions() if name.startswith("up_blocks")][-1]
    named = named_tokens(sd1, bank, [CAT], end=False)
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        with sd1.attention_maps() as maps:
            sd1.predict(torch.randn(1, *sd1.latent_shape), torch.tensor([500]), bank.conditioned)
        fmn.resteering(maps, named).mean().backward()
        grads = {name: parameter.grad for name, parameter in trainable.parameters.items()}
    silent = [name for name, grad in grads.items() if grad is None]
    assert silent == [f"unet.{last}.to_v.weight"]


def test_on_one_attention_small_steps_take_the_loss_down_every_time() -> None:
    """Plain gradient descent on queries and keys; the gradient against numpy's differences."""
    random = torch.Generator().manual_seed(0)
    pixels, text = (torch.randn(1, n, 8, generator=random, dtype=torch.float64) for n in (6, 5))
    query, key = (torch.randn(8, 8, generator=random, dtype=torch.float64).div(8**0.5).requires_grad_() for _ in range(2))
    named = torch.tensor([[False, False, True, True, False]])

    def loss() -> torch.Tensor:
        return fmn.resteering([Attended("", pixels @ query, text @ key, pixels, 2, 0.5).probabilities()], named).mean()

    def in_numpy(key: np.ndarray) -> float:
        heads = [slice(0, 4), slice(4, 8)]
        q, k = pixels[0].numpy() @ query.detach().numpy(), text[0].numpy() @ key
        scores = np.exp(np.stack([0.5 * q[:, head] @ k[:, head].T for head in heads]))
        return float(np.linalg.norm((scores / scores.sum(2, keepdims=True))[:, :, named[0].numpy()]))

    values = []
    for step in range(40):
        value = loss()
        values.append(value.item())
        gradients = torch.autograd.grad(value, (query, key))
        if not step:
            around = key.detach().numpy()
            nudges = [1e-5 * np.eye(64)[i].reshape(8, 8) for i in range(64)]
            slopes = np.array([(in_numpy(around + nudge) - in_numpy(around - nudge)) / 2e-5 for nudge in nudges])
            assert values[0] == pytest.approx(in_numpy(around)) and np.abs(gradients[1].numpy().ravel() - slopes).max() < 1e-7
        with torch.no_grad():
            for weight, gradient in zip((query, key), gradients, strict=True):
                weight -= 0.05 * gradient
    assert all(later < earlier for earlier, later in itertools.pairwise(values)) and values[-1] < 0.9 * values[0]


def test_attention_to_the_words_goes_down(sd1: Model) -> None:
    """Smoke test, on states that training did not see."""
    values: dict[str, Any] = {**PICTURED, "rounds": 4, "steps": 5, "lr": 3e-3, "parameters": "attn2"}
    edit = get("fmn").erase(sd1, [CAT], settings_of("fmn", **values), Run())
    assert isinstance(edit, WeightEdit)
    bank, x = bank_of(sd1), torch.randn(4, *sd1.latent_shape, generator=torch.Generator().manual_seed(9))
    t = torch.tensor([50, 300, 600, 900])

    @torch.no_grad()
    def attention() -> float:
        with sd1.attention_maps() as maps:
            sd1.predict(x, t, bank.conditioned.expand(4))
        return float(fmn.resteering(maps, named_tokens(sd1, bank, [CAT], end=False).expand(4, -1)).mean())

    before = attention()
    with edit.applied(sd1):
        assert attention() < 0.95 * before
