"""RECE against a numpy recipe that keeps every matrix and recomputes every sum, and the invariants R1 to R9 of its spec."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import WeightEdit
from excise.erasure import closed_form
from excise.erasure.closed_form import TextMap, redirect
from excise.erasure.run import Run
from excise.methods import get
from excise.methods.rece import ReceSettings
from excise.methods.rece.erase import regenerate, regenerated_away
from excise.models import Model
from excise.models.fingerprint import named_tensors

CAT, DOG = (Concept(name, "object", (name,)) for name in ("cat", "dog"))
WIDTH = 16
Array = np.ndarray


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def matrices() -> dict[str, Tensor]:
    return {str(n): random(n, WIDTH, seed=n) for n in (5, 8, 20)}


def sums(old: dict[str, Tensor], new: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    own = torch.stack([w.T @ w for w in new.values()]).sum(0)
    return own, torch.stack([w.T @ old[name] for name, w in new.items()]).sum(0)


def settings_of(**values: object) -> ReceSettings:
    settings = get("rece").parse(values)
    assert isinstance(settings, ReceSettings)
    return settings


def mapped(weights: dict[str, Tensor], map_: TextMap) -> dict[str, Tensor]:
    return {name: weight + weight @ map_.change() for name, weight in weights.items()}


def numpy_rounds(
    originals: list[Array], weights: list[Array], rows: Array, guides: Array, keep: Array,
    *, regeneration_ridge: float, ridge: float, e: float, p: float, rounds: int,
) -> list[Array]:  # fmt: skip
    """The published loop over all matrices; sums and inverses anew in every round, targets and anchor from the current weights."""
    width = rows.shape[1]
    for _ in range(rounds):
        gram, cross = np.zeros((width, width)), np.zeros((width, width))
        for original, weight in zip(originals, weights, strict=True):
            gram, cross = gram + weight.T @ weight, cross + weight.T @ original
        found = rows @ (np.linalg.inv(gram + regeneration_ridge * np.eye(width)) @ cross).T
        a = ridge * np.eye(width) + e * found.T @ found + p * keep.T @ keep
        weights = [(ridge * w + e * w @ guides.T @ found + p * w @ keep.T @ keep) @ np.linalg.inv(a) for w in weights]
    return weights


# --- the regenerated embedding ----------------------------------------------------------------------------------------------------


def test_r1_found_embeddings_are_stationary_and_no_change_lowers_the_objective(matrices: dict[str, Tensor]) -> None:
    new, c, ridge = {name: w + 0.5 * random(*w.shape, seed=9) for name, w in matrices.items()}, random(3, WIDTH), 0.2
    found = regenerate(*sums(matrices, new), c, ridge)

    def objective(x: Tensor) -> float:
        return float(sum((w @ x.T - matrices[n] @ c.T).square().sum() for n, w in new.items()) + ridge * x.square().sum())

    gradient = sum(w.T @ (w @ found.T - matrices[n] @ c.T) for n, w in new.items()) + ridge * found.T
    assert gradient.abs().max() < 1e-10
    assert all(objective(found + 1e-3 * random(3, WIDTH, seed=s)) > objective(found) for s in range(20, 40))


def test_r2_unedited_weights_give_the_concept_itself_back(matrices: dict[str, Tensor]) -> None:
    c = random(3, WIDTH)
    assert torch.allclose(regenerate(*sums(matrices, matrices), c, 1e-12), c, atol=1e-9)


def test_r3_r4_a_larger_ridge_gives_shorter_embeddings_down_to_nothing(matrices: dict[str, Tensor]) -> None:
    new = mapped(matrices, TextMap(random(WIDTH, 2), 0.1 * random(2, WIDTH, seed=1)))
    lengths = [
        float(regenerate(*sums(matrices, new), random(1, WIDTH), ridge).norm()) for ridge in (1e-3, 0.1, 1, 10, 1e3, 1e12)
    ]
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] < 1e-9
    settings = settings_of(regeneration_ridge=1e14)
    start = TextMap(random(WIDTH, 2), 0.1 * random(2, WIDTH, seed=1))
    end = regenerated_away(matrices, start, random(3, WIDTH), random(3, WIDTH, seed=2), random(2, WIDTH, seed=3), settings)
    assert torch.allclose(end.change(), start.change(), atol=1e-9)


def test_a_ridge_that_does_not_help_is_refused() -> None:
    with pytest.raises(ValueError, match="regeneration_ridge=1e-14 is too small here"):
        regenerate(-torch.eye(WIDTH, dtype=torch.float64), torch.eye(WIDTH, dtype=torch.float64), random(1, WIDTH), 1e-14)


def test_r5_it_is_linear_and_rows_do_not_see_each_other(matrices: dict[str, Tensor]) -> None:
    new = mapped(matrices, TextMap(random(WIDTH, 2), 0.1 * random(2, WIDTH, seed=1)))
    both, (c, d) = sums(matrices, new), random(2, WIDTH, seed=4)
    mc, md, mixed = (regenerate(*both, x[None], 0.1)[0] for x in (c, d, 2 * c - 3 * d))
    assert torch.allclose(mixed, 2 * mc - 3 * md, atol=1e-12)
    assert torch.allclose(regenerate(*both, torch.stack([c, d]), 0.1), torch.stack([mc, md]), atol=1e-12)


# --- rounds ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("count", [3, 20])
def test_rounds_equal_the_published_loop_in_numpy(matrices: dict[str, Tensor], rounds: int, count: int) -> None:
    rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((count, count, 4)))
    start = redirect(rows, guides, torch.ones(count).double(), keep, torch.ones(4).double(), 0.5)
    settings = settings_of(rounds=rounds, regeneration_ridge=0.3, ridge=0.2, erase_weight=0.8, preserve_weight=0.4)
    found = mapped(matrices, regenerated_away(matrices, start, rows, guides, keep, settings))
    expected = numpy_rounds(
        [w.numpy() for w in matrices.values()], [w.numpy() for w in mapped(matrices, start).values()],
        rows.numpy(), guides.numpy(), keep.numpy(), regeneration_ridge=0.3, ridge=0.2, e=0.8, p=0.4, rounds=rounds,
    )  # fmt: skip
    for weight, other in zip(found.values(), expected, strict=True):
        assert np.abs(weight.numpy() - other).max() < 1e-9


def test_r6_what_was_found_gives_what_the_guide_gives_under_the_weights_before(matrices: dict[str, Tensor]) -> None:
    rows, guides, none = random(3, WIDTH), random(3, WIDTH, seed=1), torch.zeros(0, WIDTH).double()
    start = redirect(rows, guides, torch.ones(3).double(), none, torch.zeros(0).double(), 5.0)
    before = mapped(matrices, start)
    found = regenerate(*sums(matrices, before), rows, 0.1)
    settings = settings_of(rounds=1, regeneration_ridge=0.1, ridge=1e-10, preserve_weight=0)
    now = mapped(matrices, regenerated_away(matrices, start, rows, guides, none, settings))
    for name, weight in now.items():
        assert torch.allclose(weight @ found.T, before[name] @ guides.T, atol=1e-7)
        assert not torch.allclose(weight @ found.T, matrices[name] @ guides.T, atol=1e-2)  # not the original weights


def test_r8_the_concept_is_harder_to_bring_back_after_each_round(matrices: dict[str, Tensor]) -> None:
    """Statistical, on these numbers: the best achievable distance to the original outputs grows."""
    rows, guides, keep = random(2, WIDTH), random(2, WIDTH, seed=1), random(4, WIDTH, seed=2)
    start = redirect(rows, guides, torch.ones(2).double(), keep, 0.1 * torch.ones(4).double(), 0.5)
    residuals = []
    for rounds in range(4):
        settings = settings_of(rounds=rounds, regeneration_ridge=0.1)
        new = mapped(matrices, regenerated_away(matrices, start, rows, guides, keep, settings))
        x = regenerate(*sums(matrices, new), rows, 1e-9)
        residuals.append(float(sum((w @ x.T - matrices[n] @ rows.T).square().sum() for n, w in new.items())))
    assert residuals == sorted(residuals) and residuals[-1] > residuals[0]


def test_r9_sums_follow_the_weights_without_being_recomputed(matrices: dict[str, Tensor]) -> None:
    map_ = TextMap(random(WIDTH, 2), 0.3 * random(2, WIDTH, seed=1))
    gram = closed_form.gram(matrices, WIDTH)
    own, cross = sums(matrices, mapped(matrices, map_))
    assert torch.allclose(map_.pull(gram), cross, atol=1e-10)
    assert torch.allclose(map_.pull(map_.pull(gram).T), own, atol=1e-10)
    c = random(1, WIDTH)
    assert not torch.allclose(regenerate(own, cross, c, 0.1), regenerate(gram, gram, c, 0.1), atol=1e-2)


# --- on a model ------------------------------------------------------------------------------------------------------------------


def erase(model: Model, *concepts: Concept, method: str = "rece", **settings: object) -> WeightEdit:
    edit = get(method).erase(model, concepts, get(method).parse(settings), Run())
    assert isinstance(edit, WeightEdit)
    return edit


def kv(model: Model) -> dict[str, Tensor]:
    return {n: p for n, p in named_tensors(model).items() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}


def same(one: WeightEdit, other: WeightEdit, atol: float = 1e-7) -> bool:
    return one.deltas.keys() == other.deltas.keys() and all(
        torch.allclose(one.deltas[name].dense(), other.deltas[name].dense(), rtol=1e-4, atol=atol) for name in one.deltas
    )


@pytest.mark.parametrize(
    ("preset", "target", "empties", "names"),
    [("nudity", " ", 2, ()), ("artist", "art", 1, ("a house", "a tree")), ("object-hard", " ", 1, ())],
)
def test_presets_on_a_model_equal_the_published_loop(
    sd2: Model, preset: str, target: str, empties: int, names: tuple[str, ...]
) -> None:
    edit = erase(sd2, CAT, DOG, preset=preset, preserve=names)
    settings = settings_of(preset=preset, preserve=names)
    if preset == "artist":  # its base edit is the one of UCE's preset
        base = erase(sd2, CAT, DOG, method="uce", preset="artist-2023", preserve=names)
        assert settings.base_preserve_weight == base.manifest.settings["preserve_weight"] == 0.1
    else:
        base = erase(sd2, CAT, DOG, method="uce", preset="release-2023", guide=target, preserve_weight=1.0)
    originals = {name: weight.double().numpy() for name, weight in kv(sd2).items()}
    weights = [weight + base.deltas[name].dense().double().numpy() for name, weight in originals.items()]
    text = sd2.encode(["cat", "dog", target, "", *names]).tokens.double().numpy()
    expected = numpy_rounds(
        list(originals.values()), weights, text[:2].reshape(154, -1), np.concatenate([text[2], text[2]]),
        np.concatenate([*[text[3]] * empties, *text[4:]]), ridge=0.1, e=1, p=0.1,
        regeneration_ridge=settings.regeneration_ridge, rounds=settings.rounds,
    )  # fmt: skip
    for name, other in zip(originals, expected, strict=True):
        found = originals[name] + edit.deltas[name].dense().double().numpy()
        assert np.abs(found - other).max() < 1e-5 * np.abs(other).max()


def test_presets_are_the_published_table() -> None:
    rows = {name: settings_of(preset=name, preserve="a house" if name == "artist" else "none") for name in ReceSettings.presets}
    table = {
        name: (s.regeneration_ridge, s.rounds, s.ridge, s.erase_weight, s.preserve_weight, s.guide) for name, s in rows.items()
    }
    assert table == {
        "nudity": (0.1, 3, 0.1, 1, 0.1, " "),
        "unsafe": (0.1, 2, 0.1, 1, 0.1, " "),
        "artist": (0.001, 1, 0.1, 1, 0.1, "art"),
        "object": (0.1, 1, 0.1, 1, 0.1, " "),
        "object-hard": (0.001, 1, 0.1, 1, 0.1, " "),
    }
    assert {s.base_ridge for s in rows.values()} == {0.5} and {s.base_tokens for s in rows.values()} == {"aligned"}


def test_r7_no_rounds_is_uce_and_only_keys_and_values_change(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    none, uce = erase(canvas, cat, rounds=0), erase(canvas, cat, method="uce")
    assert none.deltas.keys() == uce.deltas.keys() == set(kv(canvas))
    assert all(torch.equal(none.deltas[name].dense(), delta.dense()) for name, delta in uce.deltas.items())
    assert not same(erase(canvas, cat, rounds=1), uce)
    assert set(erase(canvas, cat).deltas) == set(kv(canvas))


def test_from_scratch_and_other_rows_are_other_edits(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    edits = [
        erase(canvas, cat),
        erase(canvas, cat, base="scratch"),
        erase(canvas, cat, tokens="concept"),
        erase(canvas, cat, preserve="catalog"),
    ]
    assert not any(same(one, other) for i, one in enumerate(edits) for other in edits[:i])
    assert erase(canvas, cat, base="scratch", rounds=0).deltas == {}


def test_sequential_edits_add_up_to_the_joint_one(canvas: Model) -> None:
    cat, dog = canvas.catalog.resolve("cat"), canvas.catalog.resolve("dog")
    joint, first = erase(canvas, cat, dog), erase(canvas, cat)
    with first.applied(canvas):
        second = erase(canvas, dog)
        with pytest.raises(ValueError, match="rece edit of cat on this model was made with rounds=3, this one has 1"):
            erase(canvas, dog, rounds=1)
    for name, delta in joint.deltas.items():
        assert torch.allclose(first.deltas[name].dense() + second.deltas[name].dense(), delta.dense(), atol=1e-5)
