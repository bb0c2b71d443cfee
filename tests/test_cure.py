"""CURE against a numpy recipe with whole projectors, and the invariants C1 to C11 of its spec."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from excise.concepts import Concept
from excise.edits import LowRank, WeightEdit
from excise.erasure.run import Run
from excise.methods import get
from excise.methods.cure import CureSettings
from excise.methods.cure.erase import centred, eraser, expansion, spectrum
from excise.models import Model
from excise.models.fingerprint import named_tensors

CAT, DOG = (Concept(name, "object", (name,)) for name in ("cat", "dog"))
WIDTH = 20
Array = np.ndarray
NONE = torch.zeros(0, WIDTH, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projector(rows: Tensor, alpha: float) -> Tensor:
    directions, energy = spectrum(rows, alpha)
    return directions.T @ torch.diag(energy) @ directions


def dis(forget: Tensor, retain: Tensor, alpha: float) -> Tensor:
    return -eraser(forget, retain, alpha).change()


def numpy_dis(forget: Array, retain: Array, alpha: float) -> Array:
    """P_f (I - P_r) from columns, with whole matrices (numpy's SVD)."""

    def p(rows: Array) -> Array:
        if not len(rows):
            return np.zeros((rows.shape[1],) * 2)
        u, s, _ = np.linalg.svd(rows.T, full_matrices=False)
        r = s**2 / (s**2).sum()
        return u @ np.diag(alpha * r / ((alpha - 1) * r + 1)) @ u.T

    return p(forget) @ (np.eye(forget.shape[1]) - p(retain))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 5.0, 100.0])
@pytest.mark.parametrize(("count", "retained"), [(1, 0), (4, 3), (50, 7), (6, 60)])
def test_equals_the_recipe_with_whole_projectors_in_numpy(alpha: float, count: int, retained: int) -> None:
    forget, retain = random(count, WIDTH), random(retained, WIDTH, seed=1)
    assert np.abs(dis(forget, retain, alpha).numpy() - numpy_dis(forget.numpy(), retain.numpy(), alpha)).max() < 1e-12


@pytest.mark.parametrize("alpha", [1.0, 2.0, 1e9])
def test_c1_projectors_are_symmetric_with_eigenvalues_from_0_to_1_that_sum_to_the_energies(alpha: float) -> None:
    rows = random(7, WIDTH)
    p = projector(rows, alpha)
    values = torch.linalg.eigvalsh(p)
    assert torch.allclose(p, p.T, atol=1e-14) and values.min() > -1e-12 and values.max() < 1 + 1e-12
    assert float(p.trace()) == pytest.approx(float(spectrum(rows, alpha)[1].sum()))


def test_c2_expansion_by_hand_and_by_its_derivative() -> None:
    r = torch.linspace(0, 1, 11, dtype=torch.float64)
    for alpha in (1.0, 2.0, 5.0):
        f = expansion(r, alpha)
        assert f[0] == 0 and f[-1] == 1 and (f.diff() > 0).all()
        slope = (expansion(r, alpha + 1e-6) - expansion(r, alpha)) / 1e-6
        assert torch.allclose(slope, r * (1 - r) / ((alpha - 1) * r + 1) ** 2, atol=1e-5) and (slope > -1e-9).all()
    assert torch.equal(expansion(r, 1.0), r)
    twenty = torch.tensor(1 / 20, dtype=torch.float64)
    assert [round(float(expansion(twenty, a)), 3) for a in (2.0, 5.0, 100.0)] == [0.095, 0.208, 0.84]


@pytest.mark.parametrize("alpha", [1.0, 2.0, 1e9])
def test_c3_one_direction_is_projected_out_whole_whatever_alpha(alpha: float) -> None:
    u = random(WIDTH)
    u /= u.norm()
    rows = torch.outer(random(5, seed=1), u)
    assert torch.allclose(projector(rows, alpha), torch.outer(u, u), atol=1e-12)


def test_c4_infinite_alpha_keeps_retained_columns_exactly_and_not_the_other_way_round() -> None:
    forget, retain = random(4, WIDTH), random(3, WIDTH, seed=1)
    p = projector(forget, 1e12)
    assert torch.allclose(p @ p, p, atol=1e-9)
    gone = dis(forget, retain, 1e12)
    assert (gone @ retain.T).abs().max() < 1e-9
    assert (gone.T @ retain.T).abs().max() > 0.1


def test_c4_noise_directions_are_dropped_before_alpha_blows_them_up() -> None:
    u, v = torch.linalg.qr(random(WIDTH, 2))[0].T
    rows = torch.outer(random(5, seed=1), u) + 1e-8 * torch.outer(random(5, seed=2), v)
    assert torch.allclose(projector(rows, 1e30), torch.outer(u, u), atol=1e-6)


def test_c5_spectrum_is_real_and_norms_are_bounded() -> None:
    eye = torch.eye(WIDTH, dtype=torch.float64)
    for seed in range(10):
        for alpha in (1.0, 3.0, 1e6):
            p = dis(random(5, WIDTH, seed=seed), random(6, WIDTH, seed=50 + seed), alpha)
            values = torch.linalg.eigvals(p)
            assert values.imag.abs().max() < 1e-8 and values.real.min() > -1e-8 and values.real.max() < 1 + 1e-8
            assert torch.linalg.matrix_norm(p, 2) < 1 + 1e-9
            assert torch.linalg.matrix_norm(eye - p, 2) < 2 / 3**0.5 + 1e-9


def test_c6_orthogonal_sets_do_not_touch_each_other() -> None:
    basis = torch.linalg.qr(random(WIDTH, 7))[0].T
    forget, retain = random(5, 3, seed=1) @ basis[:3], random(6, 4, seed=2) @ basis[3:]
    assert torch.allclose(dis(forget, retain, 2.0), projector(forget, 2.0), atol=1e-12)


def test_c7_what_is_orthogonal_to_both_sets_stays() -> None:
    forget, retain = random(4, WIDTH), random(3, WIDTH, seed=1)

    def outside(*sets: Tensor) -> Tensor:
        basis = torch.linalg.qr(torch.cat(sets).T)[0]
        x = random(WIDTH, seed=5)
        return x - basis @ (basis.T @ x)

    p = dis(forget, retain, 2.0)
    assert (p.T @ outside(forget)).abs().max() < 1e-12 and (p @ outside(forget)).abs().max() > 1e-3
    assert (p @ outside(forget, retain)).abs().max() < 1e-12


def test_c8_scale_rotation_and_repetition_of_the_rows_change_nothing() -> None:
    rows = random(6, WIDTH)
    p = projector(rows, 3.0)
    rotation = torch.linalg.qr(random(6, 6, seed=1))[0]
    for other in (-7 * rows, rotation @ rows, torch.cat([rows, rows]), rows.repeat(5, 1)):
        assert torch.allclose(projector(other, 3.0), p, atol=1e-12)


def test_c9_n_equal_directions_at_alpha_one_each_keep_one_minus_one_nth() -> None:
    rows = torch.linalg.qr(random(WIDTH, 5))[0].T
    left = eraser(rows, NONE, 1.0).apply(rows)
    assert torch.allclose(left.norm(dim=1), torch.full((5,), 1 - 1 / 5).double(), atol=1e-12)


def test_c10_orthogonal_concepts_commute_and_overlapping_ones_do_not() -> None:
    basis = torch.linalg.qr(random(WIDTH, 6))[0].T
    one, two = (eraser(random(4, 3, seed=s) @ basis[3 * s : 3 * s + 3], NONE, 2.0) for s in range(2))
    assert torch.allclose(one.then(two).change(), one.change() + two.change(), atol=1e-12)
    assert torch.allclose(one.then(two).change(), two.then(one).change(), atol=1e-12)
    near = eraser(random(4, WIDTH), NONE, 2.0)
    assert not torch.allclose(one.then(near).change(), near.then(one).change(), atol=1e-3)


def test_retaining_what_is_forgotten_is_not_a_no_op() -> None:
    rows = random(4, WIDTH)
    values = torch.linalg.eigvals(dis(rows, rows, 2.0)).real
    f = spectrum(rows, 2.0)[1]
    assert torch.allclose(values.sort().values[-4:], (f * (1 - f)).sort().values, atol=1e-10) and values.max() < 0.25 + 1e-12


def test_centring_spares_the_direction_that_all_prompts_share() -> None:
    """The trap of the spec: uncentred rows put the common mean first, and an unrelated vector loses most of its norm."""
    common = 10 * random(WIDTH)
    forget, retain, other = (
        common + random(8, WIDTH, seed=1),
        common + random(8, WIDTH, seed=2),
        common + random(1, WIDTH, seed=3),
    )

    def kept(how: str) -> float:
        rows, _ = centred(forget, retain, how)
        return float(eraser(rows, NONE, 2.0).apply(other).norm() / other.norm())

    assert kept("none") < 0.2 and kept("mean") > 0.8 and kept("project") > 0.95
    rows, rest = centred(forget, retain, "project")
    mean = retain.mean(0)
    assert (eraser(rows, rest, 2.0).change() @ mean).abs().max() < 1e-10
    assert torch.allclose(centred(forget, retain, "mean")[1].mean(0), torch.zeros(WIDTH).double(), atol=1e-12)
    assert torch.allclose(centred(forget, NONE, "mean")[0].mean(0), torch.zeros(WIDTH).double(), atol=1e-12)


# --- on a model ------------------------------------------------------------------------------------------------------------------


def settings_of(**values: object) -> CureSettings:
    settings = get("cure").parse(values)
    assert isinstance(settings, CureSettings)
    return settings


def erase(model: Model, *concepts: Concept, **settings: object) -> WeightEdit:
    edit = get("cure").erase(model, concepts, settings_of(**settings), Run())
    assert isinstance(edit, WeightEdit)
    return edit


def kv(model: Model) -> dict[str, Tensor]:
    return {n: p for n, p in named_tensors(model).items() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}


def same(one: WeightEdit, other: WeightEdit) -> bool:
    return one.deltas.keys() == other.deltas.keys() and all(
        torch.allclose(one.deltas[name].dense(), other.deltas[name].dense(), rtol=1e-4, atol=1e-7) for name in one.deltas
    )


def rows_of(model: Model, prompts: list[str], tokens: str) -> Array:
    """Rows of prompts, found with the attention mask."""
    tokenizer, parts = model.pipeline.tokenizer, []
    for prompt, rows in zip(prompts, model.encode(prompts).tokens.double().numpy(), strict=True):
        end = int(tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").attention_mask.sum()) - 1
        content = rows[1:end]
        parts += {
            "all": [rows],
            "content": [content],
            "end": [rows[end : end + 1]],
            "content+end": [content, rows[end : end + 1]],
            "mean": [content.mean(0, keepdims=True) if len(content) else rows[end : end + 1]],
        }[tokens]
    return np.concatenate(parts)


@pytest.mark.parametrize("tokens", ["content+end", "content", "mean", "end", "all"])
def test_token_selection_and_retain_list_equal_the_numpy_recipe(sd2: Model, tokens: str) -> None:
    edit = erase(sd2, CAT, DOG, tokens=tokens, retain="a tree; a house", alpha=5, wording="name")
    p = numpy_dis(rows_of(sd2, ["cat", "dog"], tokens), rows_of(sd2, ["a tree", "a house"], tokens), 5.0)
    for name, weight in kv(sd2).items():
        expected = -weight.double().numpy() @ p
        assert np.abs(edit.deltas[name].dense().numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_masked_retain_set_is_the_same_prompts_without_the_words_and_the_empty_one(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    masked = list(dict.fromkeys([*(pair.masked for pair in cat.pairs()), ""]))
    forget = list(dict.fromkeys(pair.prompt for pair in cat.pairs()))
    p = numpy_dis(rows_of(canvas, [pair.prompt for pair in cat.pairs()], "end"), rows_of(canvas, masked, "end"), 2.0)
    assert len(forget) > 20
    edit = erase(canvas, cat, tokens="end")
    for name, weight in kv(canvas).items():
        assert np.abs(edit.deltas[name].dense().numpy() + weight.double().numpy() @ p).max() < 1e-5


def test_c11_only_keys_and_values_change_and_what_is_kept_is_recorded(canvas: Model) -> None:
    edit = erase(canvas, canvas.catalog.resolve("cat"))
    assert set(edit.deltas) == set(kv(canvas))
    before = {name: parameter.clone() for name, parameter in named_tensors(canvas).items()}
    with edit.applied(canvas):
        now = named_tensors(canvas)
        assert {name for name in now if not torch.equal(now[name], before[name])} == set(kv(canvas))
        assert all(now[name].dtype == before[name].dtype and now[name].shape == before[name].shape for name in now)
    assert all(torch.equal(parameter, before[name]) for name, parameter in named_tensors(canvas).items())
    measured = edit.manifest.measurements
    assert 0 < measured["kept_forget"] < 1 and 0 < measured["kept_retain"] < 1 and measured["bytes"] == edit.nbytes
    assert erase(canvas, canvas.catalog.resolve("cat"), retain="none").manifest.measurements["kept_retain"] is None


def test_edit_is_stored_in_the_rank_of_its_rows(sd2: Model) -> None:
    edit = erase(sd2, CAT, wording="name", tokens="mean")
    assert all(isinstance(delta, LowRank) and len(delta.down) == 1 for delta in edit.deltas.values())


def test_joint_and_sequential_composition(canvas: Model) -> None:
    cat, dog = canvas.catalog.resolve("cat"), canvas.catalog.resolve("dog")
    joint, alone = erase(canvas, cat, dog), erase(canvas, cat)
    with alone.applied(canvas):
        second = erase(canvas, dog)
        with pytest.raises(ValueError, match=r"alpha=2\.0, this one has 5\.0"):
            erase(canvas, dog, alpha=5)
    for name, delta in joint.deltas.items():
        assert torch.allclose(alone.deltas[name].dense() + second.deltas[name].dense(), delta.dense(), atol=1e-6)
    at_once, first = (
        erase(canvas, cat, dog, compose="sequential", retain="none"),
        erase(canvas, cat, compose="sequential", retain="none"),
    )
    with first.applied(canvas):
        then = erase(canvas, dog, compose="sequential", retain="none")
    for name, delta in at_once.deltas.items():
        assert torch.allclose(first.deltas[name].dense() + then.deltas[name].dense(), delta.dense(), atol=1e-6)
    assert not same(at_once, erase(canvas, cat, dog, retain="none"))


def test_centring_and_retain_are_settings_and_presets_are_as_published(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    edits = [erase(canvas, cat, centre=how) for how in ("none", "mean", "project")] + [erase(canvas, cat, retain="catalog")]
    assert not any(same(one, other) for i, one in enumerate(edits) for other in edits[:i])
    alphas = {name: settings_of(preset=name).alpha for name in CureSettings.presets}
    assert alphas == {"object": 2, "artist": 2, "identity": 2, "nudity": 5}
    assert settings_of(preset="object").retain == ()
    with pytest.raises(ValueError, match="alpha"):
        settings_of(alpha="0.5")
