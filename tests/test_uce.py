"""UCE on real tiny models, against numpy recipes of both of the authors' releases written here; ledger, preserve lists, debiasing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import LowRank, WeightEdit, compose, load_edit
from excise.erasure.joint_solve import Ledger
from excise.erasure.run import Run
from excise.methods import get
from excise.methods.uce import UceSettings, balance
from excise.methods.uce.erase import away
from excise.models import Model
from excise.models.fingerprint import named_tensors

Array = np.ndarray
CAT, DOG = (Concept(name, "object", (name,)) for name in ("cat", "dog"))


def settings_of(**values: object) -> UceSettings:
    settings = get("uce").parse(values)
    assert isinstance(settings, UceSettings)
    return settings


def erase(model: Model, *concepts: Concept, **settings: object) -> WeightEdit:
    edit = get("uce").erase(model, concepts, settings_of(**settings), Run())
    assert isinstance(edit, WeightEdit)
    return edit


def kv(model: Model) -> dict[str, Tensor]:
    return {n: p for n, p in named_tensors(model).items() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}


def after(model: Model, *edits: WeightEdit) -> dict[str, Array]:
    """Keys and values with edits on, float64."""
    weights = {name: weight.double().numpy() for name, weight in kv(model).items()}
    for edit in edits:
        for name, delta in edit.deltas.items():
            weights[name] = weights[name] + delta.dense().double().numpy()
    return weights


def published(
    weight: Array, edits: Sequence[tuple[Array, Array]], preserve: Sequence[Array],
    *, p: float, tensor: bool = False, e: float = 1.0, ridge: float = 0.5,
) -> Array:  # fmt: skip
    """The authors' loop: B A^-1 with blocks of rows, (rows, in) each, in numpy float64."""
    a, b = ridge * np.eye(weight.shape[1]), ridge * weight
    for rows, guides in edits:
        wanted = weight @ guides.T
        if tensor:
            old = weight @ rows.T
            u = old / np.linalg.norm(old)
            wanted = wanted - (u * wanted).sum() * u
        a, b = a + e * rows.T @ rows, b + e * wanted @ rows
    for rows in preserve:
        a, b = a + p * rows.T @ rows, b + p * weight @ rows.T @ rows
    return b @ np.linalg.inv(a)


def rows_2023(model: Model, old: str, new: str) -> tuple[Array, Array]:
    """Token alignment of the 2023 release, counted with the attention mask."""
    words = model.pipeline.tokenizer([old, new], padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    s, t = (words.attention_mask.sum(1) - 2).tolist()
    source, target = model.encode([old, new]).tokens.double().numpy()
    farthest = max(s, t)
    return source[s : len(source) - max(0, farthest - s)], target[t : len(target) - max(0, farthest - t)]


@pytest.mark.parametrize("which", ["sd1", "sd2"])
@pytest.mark.parametrize(("preset", "guide", "p"), [("release-2023", " ", 1 / 3), ("artist-2023", "art", 0.1)])
def test_release_2023_is_the_published_recipe(
    which: str, preset: str, guide: str, p: float, request: pytest.FixtureRequest
) -> None:
    """Of artists it holds 1733 names and the empty prompt, so that max(0.1, 1 / 1734) is 0.1; with fewer names here it stays so."""
    model = request.getfixturevalue(which)
    edit = erase(model, CAT, DOG, preset=preset, preserve="a house; a tree", erase_weight=0.7)
    edits = [rows_2023(model, name, guide) for name in ("cat", "dog")]
    keep = list(model.encode(["", "a house", "a tree"]).tokens.double().numpy())
    changed = after(model, edit)
    assert len(edit.deltas) == len(kv(model)) > 0
    for name, weight in kv(model).items():
        expected = published(weight.double().numpy(), edits, keep, p=p, e=0.7)
        assert np.abs(changed[name] - expected).max() < 1e-6 * np.abs(expected).max()


def test_release_2025_is_the_published_recipe_with_one_row_a_prompt(sd1: Model) -> None:
    edit = erase(sd1, CAT, DOG, preset="artist", preserve="a house", expand="art", preserve_weight=0.3)
    source, keep = [], sd1.encode(["a house"]).tokens[0].double().numpy()[6:7]
    for name in ("cat", "dog"):
        for around in ("{}", "painting by {}", "art by {}", "artwork by {}", "picture by {}", "style of {}"):
            pair = sd1.encode([around.format(name), around.format("art")]).tokens.double().numpy()
            last = len(around.format(name).replace(" ", ""))
            source.append((pair[0][last : last + 1], pair[1][last : last + 1]))  # "cat", "dog" and "art" are three letters each
    changed = after(sd1, edit)
    for name, weight in kv(sd1).items():
        expected = published(weight.double().numpy(), source, [keep], p=0.3)
        assert np.abs(changed[name] - expected).max() < 1e-6 * np.abs(expected).max()


def test_tensor_technique_is_the_published_recipe_over_a_prompts_whole_block(sd1: Model) -> None:
    edit = erase(sd1, CAT, DOG, preset="release-2023", technique="tensor")
    edits = [rows_2023(sd1, name, " ") for name in ("cat", "dog")]
    keep = list(sd1.encode([""]).tokens.double().numpy())
    changed = after(sd1, edit)
    for name, weight in kv(sd1).items():
        expected = published(weight.double().numpy(), edits, keep, p=1.0, tensor=True)
        assert np.abs(changed[name] - expected).max() < 1e-6 * np.abs(expected).max()


def test_away_leaves_nothing_along_the_old_outputs() -> None:
    old, guide = (torch.randn(5, 7, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in range(2))
    wanted = old + away(old, guide, torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    for part in (slice(0, 3), slice(3, 7)):
        assert abs(float((wanted[:, part] * old[:, part]).sum())) < 1e-12
    assert abs(float((wanted[:, 0] * old[:, 0]).sum())) > 0.01  # the block as a whole, not each token


def test_default_guide_is_the_same_prompt_without_the_words(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    with_default = erase(canvas, cat, wording="name", tokens="last")
    assert same(with_default, erase(canvas, cat, wording="name", tokens="last", guide="something"))
    assert not same(with_default, erase(canvas, cat, wording="name", tokens="last", guide=""))


@pytest.mark.parametrize("tokens", ["last", "aligned", "concept"])
@pytest.mark.parametrize("wording", ["name", "phrases", "templates"])
def test_only_keys_and_values_change_and_removal_is_exact(canvas: Model, tokens: str, wording: str) -> None:
    before = {name: parameter.clone() for name, parameter in named_tensors(canvas).items()}
    edit = erase(canvas, canvas.catalog.resolve("cat"), tokens=tokens, wording=wording)
    edit.apply(canvas)
    now = named_tensors(canvas)
    assert {name for name in now if not torch.equal(now[name], before[name])} == set(kv(canvas))
    edit.remove(canvas)
    assert all(torch.equal(parameter, before[name]) for name, parameter in named_tensors(canvas).items())


def test_edited_prompt_gives_what_its_guide_gave(sd2: Model) -> None:
    changed = after(sd2, erase(sd2, CAT, tokens="last", ridge=1e-8, keep_empty=False))
    cat, something = sd2.encode(["cat", "something"]).tokens.double().numpy()
    for name, weight in kv(sd2).items():
        old = weight.double().numpy()
        assert np.abs(changed[name] @ cat[3] - old @ something[9]).max() < 1e-5
        assert np.abs(old @ cat[3] - old @ something[9]).max() > 1e-2


def test_the_empty_prompt_moves_less_when_it_is_held(sd2: Model) -> None:
    empty = sd2.encode([""]).tokens[0].double().numpy()

    def moved(**settings: object) -> float:
        changed = after(sd2, erase(sd2, CAT, tokens="last", **settings))
        return sum(np.square((changed[name] - weight.double().numpy()) @ empty.T).sum() for name, weight in kv(sd2).items())

    assert 0 < moved(preserve_weight=100) < 0.1 * moved(keep_empty=False)


def test_a_guide_that_is_the_concept_changes_nothing(sd1: Model) -> None:
    assert erase(sd1, CAT, guide="cat").deltas == {}


def test_low_rank_is_at_most_the_edited_rows_and_is_saved_exactly(canvas: Model, tmp_path: Path) -> None:
    edit = erase(canvas, canvas.catalog.resolve("cat"), canvas.catalog.resolve("style:sketch"), tokens="last", wording="name")
    assert all(isinstance(delta, LowRank) and len(delta.down) <= 2 for delta in edit.deltas.values())
    assert edit.manifest.measurements == {"bytes": edit.nbytes, "rank": 2}
    edit.save_pretrained(tmp_path / "edit")
    again = load_edit(tmp_path / "edit")
    assert all(torch.equal(again.deltas[name].dense(), delta.dense()) for name, delta in edit.deltas.items())


# --- several edits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"tokens": "last"}, {"tokens": "aligned"}, {"technique": "tensor"}, {"preserve": "a bird; a dog"}]
)
def test_sequential_edits_add_up_to_the_joint_one(canvas: Model, settings: dict[str, str], tmp_path: Path) -> None:
    cat, dog, sketch = (canvas.catalog.resolve(name) for name in ("cat", "dog", "style:sketch"))
    joint = erase(canvas, cat, dog, sketch, **settings)
    first, alone = erase(canvas, cat, **settings), erase(canvas, dog, sketch, **settings)
    first.save_pretrained(tmp_path / "first")
    loaded = load_edit(tmp_path / "first")  # as in another session: lists come back as lists
    assert isinstance(loaded, WeightEdit)
    first = loaded
    with first.applied(canvas):
        second = erase(canvas, dog, sketch, **settings)
    assert [entry["method"] for entry in second.manifest.ledger] == ["uce"]
    expected, found, naive = after(canvas, joint), after(canvas, first, second), after(canvas, first, alone)
    for name, weight in expected.items():
        assert np.abs(found[name] - weight).max() < 1e-6
    assert max(np.abs(naive[name] - weight).max() for name, weight in expected.items()) > 1e-4


def test_a_third_edit_on_a_composition_of_two_is_solved_jointly_too(canvas: Model) -> None:
    cat, dog, bird = (canvas.catalog.resolve(name) for name in ("cat", "dog", "bird"))
    first = erase(canvas, cat)
    with first.applied(canvas):
        second = erase(canvas, dog)
    both = compose([first, second])
    with both.applied(canvas):
        third = erase(canvas, bird)
    expected, found = after(canvas, erase(canvas, cat, dog, bird)), after(canvas, both, third)
    assert all(np.abs(found[name] - weight).max() < 1e-6 for name, weight in expected.items())


def test_an_edit_of_another_kind_or_strength_counts_as_the_base(canvas: Model) -> None:
    cat, dog = canvas.catalog.resolve("cat"), canvas.catalog.resolve("dog")
    first = erase(canvas, cat)
    first.apply(canvas, scale=0.5)
    second = erase(canvas, dog)
    changed = {name: weight.clone() for name, weight in named_tensors(canvas).items()}
    first.remove(canvas)
    with torch.no_grad():
        for name, parameter in named_tensors(canvas).items():
            parameter.copy_(changed[name])
    alone = erase(canvas, dog)  # on a model that is the half-edited one
    for name, delta in alone.deltas.items():
        assert torch.allclose(second.deltas[name].dense(), delta.dense(), atol=1e-6)
    assert first.deltas.keys() == alone.deltas.keys()


def test_prompts_do_not_ask_for_another_concept_that_is_erased_along(canvas: Model) -> None:
    cat, sketch = canvas.catalog.resolve("cat"), canvas.catalog.resolve("style:sketch")
    assert any("sketch" in pair.masked for pair in cat.pairs())
    first, second = Ledger.of(canvas, "uce", [cat, sketch], settings_of(), same=()).concepts
    assert not any("sketch" in pair.masked for pair in first.pairs()) and any("photo" in pair.masked for pair in first.pairs())
    assert not any("cat" in pair.masked for pair in second.pairs())


def test_edits_solved_together_need_the_same_ridge(sd1: Model) -> None:
    with erase(sd1, CAT).applied(sd1), pytest.raises(ValueError, match=r"uce edit of cat .* ridge=0.5, this one has 2.0"):
        erase(sd1, DOG, ridge=2.0)


# --- settings --------------------------------------------------------------------------------------------------------------------


def test_catalog_preserves_the_other_declared_concepts(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    others = "a dog; a puppy; a hound; a bird; an owl; photo; sketch; pixel art"  # not tabby and kitten: they are cats
    by_name = erase(canvas, cat, preserve=others)
    assert same(by_name, erase(canvas, cat, preserve="catalog"))
    assert not same(by_name, erase(canvas, cat))


def test_catalog_needs_a_model_that_declares_concepts(sd1: Model) -> None:
    with pytest.raises(ValueError, match="declares no concepts; list what to preserve"):
        erase(sd1, CAT, preserve="catalog")


def test_presets_are_the_published_defaults() -> None:
    old, new = (settings_of(preset=name) for name in ("nudity", "object"))
    assert (old.tokens, old.guide, old.ridge, old.erase_weight, old.preserve_weight, old.keep_empty) == (
        "aligned",
        " ",
        0.5,
        1,
        None,
        True,
    )
    assert (new.tokens, new.guide, new.ridge, new.erase_weight, new.preserve_weight, new.keep_empty) == (
        "last",
        "",
        0.5,
        1,
        1,
        False,
    )
    assert settings_of(preset="artist").guide == "art"
    assert settings_of(preset="nudity", ridge="2").ridge == 2


@pytest.mark.parametrize(
    "bad", [{"ridge": "-1"}, {"ridge": "inf"}, {"erase_weight": "0"}, {"tokens": "first"}, {"pushe_step": "1"}]
)
def test_bad_settings_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        get("uce").parse(bad)


def test_a_ridge_of_zero_is_refused_where_it_has_no_solution(sd1: Model) -> None:
    with pytest.raises(ValueError, match="use a ridge > 0"):
        erase(sd1, CAT, ridge=0, tokens="last", keep_empty=False)


# --- debiasing -------------------------------------------------------------------------------------------------------------------


def test_pushes_are_added_to_the_concepts_own_outputs(sd1: Model) -> None:
    edit = erase(sd1, CAT, preset="release-2025", attributes="red; green", pushes=((0.3, -0.2),), guide="", preserve_weight=1)
    cat, red, green = sd1.encode(["cat", "red", "green"]).tokens.double().numpy()
    pair = (cat[3:4], cat[3:4] + 0.3 * red[3:4] - 0.2 * green[5:6])
    changed = after(sd1, edit)
    for name, weight in kv(sd1).items():
        expected = published(weight.double().numpy(), [pair], [], p=1.0)
        assert np.abs(changed[name] - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"attributes": "red; green", "technique": "tensor"}, "attributes need technique=replace"),
        ({"attributes": "red; green", "pushes": ((0.3,),)}, "a weight for each of the 2 attributes"),
        ({"pushes": ((),)}, "pushes need attributes, and a row for each of the 1 concepts"),
        ({"attributes": "red; green", "pushes": ((0.3, 0.1), (0.1, 0.2))}, "a row for each of the 1 concepts"),
    ],
)
def test_debiasing_that_does_not_fit_is_refused(bad: dict[str, Any], message: str, sd1: Model) -> None:
    with pytest.raises(ValueError, match=message):
        erase(sd1, CAT, **bad)


def test_debiasing_goes_on_until_shares_are_as_wanted(sd1: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop against a made-up world in which the share of an attribute grows with its push."""
    level = [0.0]

    def world(*_: object) -> Tensor:
        share = min(1.0, 0.1 + level[0])
        return torch.tensor([share, 1 - share], dtype=torch.float64)

    def pictures(model: Model, edit: WeightEdit | None, *_: object) -> Tensor:
        level[0] = 0.0 if edit is None else 2 * max(edit.manifest.settings["pushes"][0][0], 0)
        return torch.zeros(1)

    monkeypatch.setattr(balance, "shown", world)
    monkeypatch.setattr(balance, "_pictures", pictures)
    edit = erase(sd1, CAT, attributes="red; green", desired="0.6; 0.4", tolerance=0.02, rounds=60)
    assert edit.manifest.measurements["shares_before"] == [[0.1, 0.9]]
    assert abs(edit.manifest.measurements["shares_after"][0][0] - 0.6) < 0.02
    assert edit.manifest.settings["pushes"][0][0] == pytest.approx(0.25, abs=0.01)


def test_shown_picks_the_attribute_that_predicts_the_noise_best(canvas: Model) -> None:
    """Against a loop over pictures, attributes and levels, one at a time."""
    attributes = ("a cat", "a dog", "a bird")
    latents = torch.randn(5, *canvas.latent_shape, generator=torch.Generator().manual_seed(1))
    found = balance.shown(canvas, latents, attributes, torch.Generator().manual_seed(2))
    generator, errors = torch.Generator().manual_seed(2), np.zeros((5, 3))
    for level in range(balance.LEVELS):
        noise = torch.randn(latents.shape, generator=generator)
        t = torch.tensor([int((level + 0.5) * 1000 / balance.LEVELS)])
        abar = canvas.path.alphas_cumprod[t].item()
        for picture in range(5):
            noisy = (abar**0.5 * latents[picture] + (1 - abar) ** 0.5 * noise[picture])[None]
            for number, attribute in enumerate(attributes):
                with torch.no_grad():
                    v = canvas.predict(noisy.float(), t, canvas.encode([attribute]))
                e = abar**0.5 * v + (1 - abar) ** 0.5 * noisy
                errors[picture, number] += float((e - noise[picture]).square().sum())
    expected = np.bincount(errors.argmin(1), minlength=3) / 5
    assert np.allclose(found.numpy(), expected) and found.sum() == pytest.approx(1)


def test_debiasing_runs_on_a_real_model_and_repeats(sd1: Model) -> None:
    settings = {"attributes": "red; green", "rounds": "2", "pictures": "2", "tolerance": "1e-9"}
    one, two = erase(sd1, CAT, **settings), erase(sd1, CAT, **settings)
    assert same(one, two) and one.deltas
    assert sum(one.manifest.measurements["shares_after"][0]) == pytest.approx(1)
    for bad in ("0.5; 0.4", "1"):
        with pytest.raises(ValueError, match=r"desired=.*one share for every attribute"):
            erase(sd1, CAT, attributes="red; green", desired=bad)


def same(one: WeightEdit, other: WeightEdit) -> bool:
    return one.deltas.keys() == other.deltas.keys() and all(
        torch.allclose(one.deltas[name].dense(), other.deltas[name].dense(), rtol=1e-5, atol=1e-7) for name in one.deltas
    )
