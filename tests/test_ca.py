"""Concept Ablation: its losses by hand, the start token, prompts made of captions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise.concepts import Concept, PromptPair
from excise.erasure import anchors, subspaces
from excise.erasure.attention import start_token_detached
from excise.erasure.prompt_bank import PromptBank, redirected
from excise.erasure.run import Run
from excise.erasure.targets import noised
from excise.erasure.trainable import Trainable
from excise.erasure.training_pictures import Learning
from excise.methods import get
from excise.methods.ca import erase as ca
from excise.models import Model
from excise.models.path import per_row
from trained_methods import CAT, PICTURED, asked, settings_of


def bank_of(model: Model) -> PromptBank:
    return PromptBank.of_pairs(model, [[PromptPair("a cat", "a dog")]])


def learning(model: Model) -> Learning:
    return Learning(torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(1)), torch.zeros(3).long())


def loss(model: Model, trainable: Trainable, bank: PromptBank | None = None, **values: object) -> Tensor:
    settings = settings_of("ca", **{**PICTURED, **values})
    return ca._round(model, bank or bank_of(model), learning(model), trainable, settings, Run(), 0)(0)


def seen(model: Model) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clean latents, noisy ones, noise and timesteps of the first step."""
    generator = Run().generator(1, 0, 0)
    clean, _ = learning(model).draw(2, generator)
    return clean, *noised(model, clean, generator)


@pytest.mark.parametrize("which", ["sd1", "sd2"])
def test_both_losses_are_what_the_paper_says(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    clean, noisy, noise, t = seen(model)
    alpha, sigma = (per_row(f(t), clean) for f in (model.path.alpha, model.path.sigma))
    assert torch.allclose(noisy, alpha * clean + sigma * noise)
    own = asked(model, noisy, t, "a cat")
    trained = noise if which == "sd1" else alpha * noise - sigma * clean
    with Trainable(model, subspaces.select(model, "kv")) as trainable:
        by_model, by_noise = (loss(model, trainable, variant=variant).detach() for variant in ("model", "noise"))
    assert torch.allclose(by_model, (own - asked(model, noisy, t, "a dog")).square().mean(), rtol=1e-4)
    assert torch.allclose(by_noise, (own - trained).square().mean(), rtol=1e-4)


def test_an_anchor_that_is_the_concept_teaches_nothing(sd1: Model) -> None:
    bank = bank_of(sd1)
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        value = loss(sd1, trainable, replace(bank, masked=bank.conditioned))
        value.backward()
        assert value.item() == 0
        assert all(not parameter.grad.any() for parameter in trainable.parameters.values())  # type: ignore[union-attr]


def test_the_anchor_s_branch_has_no_gradient_and_may_be_the_base_s(sd1: Model) -> None:
    _, noisy, _, t = seen(sd1)
    bank = bank_of(sd1)
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        parameters = list(trainable.parameters.values())
        base = asked(sd1, noisy, t, "a dog")
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(0.1)
        for teacher, target in (("current", asked(sd1, noisy, t, "a dog")), ("base", base)):
            found = torch.autograd.grad(loss(sd1, trainable, teacher=teacher), parameters)
            error = (sd1.predict(noisy, t, bank.conditioned.expand(2)) - target).square().mean()
            expected = torch.autograd.grad(error, parameters)
            assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-7) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("parameters", "names"), [("kv", r"attn2\.to_[kv]\.weight$"), ("attn", r"\.attn[12]\."), ("full", r"^unet\.")]
)
def test_exactly_the_declared_tensors_move(sd1: Model, parameters: str, names: str) -> None:
    edit = get("ca").erase(sd1, [CAT], settings_of("ca", **PICTURED, anchor="a dog", parameters=parameters), Run())
    declared = {f"unet.{name}" for name, _ in sd1.denoiser.named_parameters() if re.search(names, f"unet.{name}")}
    assert set(edit.deltas) == declared and len(declared) >= 8


def test_the_prior_term_is_added(sd1: Model) -> None:
    with Trainable(sd1, subspaces.select(sd1, "kv")) as trainable:
        plain, once, twice = (float(loss(sd1, trainable, prior_weight=w).detach()) for w in (0.0, 1.0, 2.0))
    assert once - plain > 0.1 and twice - once == pytest.approx(once - plain, rel=1e-4)


def test_the_start_token_gives_no_gradient_and_changes_nothing(sd1: Model) -> None:
    attention = next(iter(sd1.cross_attentions().values()))
    text = sd1.encode(["a cat"]).tokens
    for layer in (attention.to_k, attention.to_v):
        layer.requires_grad_(True)
        plain = layer(text)
        (without_start,) = torch.autograd.grad(layer(text[:, 1:]).square().sum(), layer.weight)
        (whole,) = torch.autograd.grad(plain.square().sum(), layer.weight)
        with start_token_detached(sd1):
            output = layer(text)
            (found,) = torch.autograd.grad(output.square().sum(), layer.weight)
        assert torch.equal(output, plain) and torch.allclose(found, without_start, atol=1e-6)
        assert not torch.allclose(whole, without_start, atol=1e-3)
        assert torch.equal(layer(text), plain) and layer(text)[:, 0].requires_grad, "the hooks are gone"
        layer.requires_grad_(False)


def test_captions_become_prompts() -> None:
    grumpy = Concept("grumpy cat", "object", ("grumpy cat",))
    with pytest.warns(UserWarning, match="1 captions do not contain 'cat'"):
        pairs = anchors.captioned(grumpy, "cat", ["A Cat on a mat", "a caterpillar"])
    assert pairs == [PromptPair("A grumpy cat on a mat", "A Cat on a mat")]
    with pytest.raises(ValueError, match="no caption contains the anchor"):
        anchors.captioned(grumpy, "dog", ["a cat"])
    cat = Concept("cat", "object", ("a cat", "cat"))
    for anchor in ("dog", "a dog"):
        assert anchors.captioned(cat, anchor, ["Here is a dog"])[0].prompt == "Here is a cat", "one article"
    odd = Concept("odd", "object", (r"\1 \g",))
    assert anchors.captioned(odd, "dog", ["a dog"])[0].prompt == r"a \1 \g", "a name is no pattern"
    gogh = Concept("van gogh", "style", ("van gogh",))
    found = [pair.prompt for pair in anchors.captioned(gogh, "painting", ["a", "b", "c"])]
    assert found == ["a, in the style of van gogh", "in van gogh's style, b", "in van gogh's style, c"]


def test_captions_are_read_from_a_file_and_used(sd1: Model, tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    with pytest.raises(FileNotFoundError, match="no such file of captions"):
        anchors.read_captions(str(path))
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no captions"):
        anchors.read_captions(str(path))
    path.write_text("a dog on a mat\n\na dog in the sun\n", encoding="utf-8")
    values = {**PICTURED, "rounds": 1, "steps": 1, "captions": str(path), "anchor": "a dog"}
    edit = get("ca").erase(sd1, [CAT], settings_of("ca", **values), Run())
    assert edit.deltas and all(".attn2.to_" in name for name in edit.deltas)


def test_what_a_concept_can_be_taken_for(canvas: Model) -> None:
    cat, bird, sketch = (canvas.catalog.resolve(name) for name in ("cat", "bird", "sketch"))

    def masked(to: str, concept: Concept = cat) -> dict[str, str]:
        (pairs,) = redirected(canvas, [concept], "templates", to)
        return {pair.prompt: pair.masked for pair in pairs}

    shown = "a picture of a kitty in sketch style"
    expected = {"next": "a picture of a dog in sketch style", "a house": "a picture of a house in sketch style"}
    expected |= {"masked": "a picture in sketch style", "empty": ""}
    assert {to: masked(to)[shown] for to in expected} == expected
    assert set(masked("next")) == set(masked("masked")) == {pair.prompt for pair in cat.pairs()}
    assert masked("next", bird)["an owl"] == "a cat" and masked("next", sketch)["a dog, pencil"] == "a dog, pixel art"
    assert redirected(canvas, [cat, canvas.catalog.resolve("dog")], "name", "next")[0][0].masked == "a bird", "a dog goes too"


def test_a_model_without_a_list_has_no_next_concept(sd1: Model) -> None:
    with pytest.raises(ValueError, match="declares no other object; say what 'cat' should be taken for"):
        redirected(sd1, [CAT], "name", "next")
