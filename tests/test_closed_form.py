"""The shared closed-form solver, against numpy in float64 and the theorems it must obey (UCE's T1 to T8)."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from excise.edits import Dense, LowRank
from excise.erasure import closed_form
from excise.erasure.closed_form import TextMap, redirect
from excise.erasure.text_rows import TextRows
from excise.models import Model, loading

WIDTH = 24
Array = np.ndarray


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ones(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.float64)


def numpy_uce(
    weight: Array, rows: Array, guides: Array, strength: Array, keep: Array, keep_strength: Array, ridge: float
) -> tuple[Array, Array, Array]:
    """The published recipe, one row at a time: W = B A^-1, A and B (numpy, float64)."""
    a = ridge * np.eye(weight.shape[1])
    b = ridge * weight
    for c, g, e in zip(rows, guides, strength, strict=True):
        a += e * np.outer(c, c)
        b += e * np.outer(weight @ g, c)
    for q, p in zip(keep, keep_strength, strict=True):
        a += p * np.outer(q, q)
        b += p * np.outer(weight @ q, q)
    return np.linalg.solve(a, b.T).T, a, b


def edited(weight: Tensor, map_: TextMap) -> Tensor:
    return weight + weight @ map_.change()


# 1: fewer rows than half the width (small system); 15: more than half (large system); 40: more rows than directions (summed first)
@pytest.mark.parametrize("count", [1, 3, 15, 40])
@pytest.mark.parametrize("kept", [0, 2, 30])
def test_equals_the_published_recipe_in_numpy_and_solves_the_normal_equations(count: int, kept: int) -> None:
    weight, rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((10, count, count, kept)))
    strength, keep_strength = random(count, seed=5).abs(), random(kept, seed=6).abs()
    new = edited(weight, redirect(rows, guides, strength, keep, keep_strength, 0.3)).numpy()
    w, c, g, e, q, p = (x.numpy() for x in (weight, rows, guides, strength, keep, keep_strength))
    expected, a, b = numpy_uce(w, c, g, e, q, p, 0.3)
    assert np.abs(new - expected).max() < 1e-10
    assert np.linalg.norm(new @ a - b) < 1e-9


def test_no_small_change_lowers_the_objective() -> None:
    weight, rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((10, 4, 4, 3)))

    def objective(new: Tensor) -> float:
        moved = (new @ rows.T - weight @ guides.T).square().sum()
        held = (new @ keep.T - weight @ keep.T).square().sum()
        return float(2.0 * moved + 0.7 * held + 0.3 * (new - weight).square().sum())

    best = edited(weight, redirect(rows, guides, 2.0 * ones(4), keep, 0.7 * ones(3), 0.3))
    for seed in range(20):
        step = random(10, WIDTH, seed=100 + seed)
        assert objective(best + 1e-3 * step) > objective(best)


def test_a_large_ridge_shrinks_the_edit_as_its_inverse() -> None:
    weight, rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((10, 4, 4, 3)))
    sizes = [
        float((weight @ redirect(rows, guides, ones(4), keep, ones(3), ridge).change()).norm()) for ridge in (1e6, 1e7, 1e8)
    ]
    assert sizes[0] / sizes[1] == pytest.approx(10, rel=1e-3)
    assert sizes[1] / sizes[2] == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("count", [4, 40])
@pytest.mark.parametrize("ridge", [1e-6, 1.0, 1e6])
def test_a_concept_that_is_its_own_guide_changes_nothing_exactly(count: int, ridge: float) -> None:
    rows = random(count, WIDTH)
    map_ = redirect(rows, rows, ones(count), random(3, WIDTH, seed=1), ones(3), ridge)
    assert not map_.change().any()
    assert not any(d.dense().any() for d in map_.deltas({"w": random(10, WIDTH)}).values())


def test_one_vector_and_nothing_kept_is_the_rank_one_formula() -> None:
    weight, c, g = random(10, WIDTH), random(WIDTH, seed=1), random(WIDTH, seed=2)
    e, ridge = 1.7, 0.4
    expected = weight + e * torch.outer(weight @ (g - c), c) / (ridge + e * c @ c)
    new = edited(weight, redirect(c[None], g[None], e * ones(1), torch.zeros(0, WIDTH).double(), ones(0), ridge))
    assert torch.allclose(new, expected, rtol=0, atol=1e-12)


def test_what_is_orthogonal_to_all_rows_is_untouched() -> None:
    weight, rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((10, 4, 4, 3)))
    basis = torch.linalg.qr(torch.cat([rows, keep]).T)[0]
    x = random(WIDTH, seed=9)
    x = x - basis @ (basis.T @ x)
    new = edited(weight, redirect(rows, guides, ones(4), keep, ones(3), 0.3))
    assert torch.allclose(new @ x, weight @ x, atol=1e-12)
    assert not torch.allclose(new @ rows[0], weight @ rows[0], atol=0.1)


def test_rank_is_at_most_the_number_of_edited_rows_whatever_is_kept() -> None:
    rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((4, 4, 9)))
    map_ = redirect(rows, guides, ones(4), keep, ones(9), 0.3)
    assert torch.linalg.matrix_rank(map_.change(), rtol=1e-9) == 4
    delta = map_.deltas({"w": random(40, WIDTH)})["w"]
    assert isinstance(delta, LowRank) and delta.down.shape == (4, WIDTH)


@pytest.mark.parametrize("count", [3, 40])
def test_order_does_not_matter_and_twice_is_double_strength(count: int) -> None:
    rows, guides, keep = (random(n, WIDTH, seed=s) for s, n in enumerate((count, count, 5)))
    once = redirect(rows, guides, ones(count), keep, ones(5), 0.3).change()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(
        redirect(rows[order], guides[order], ones(count), keep.flip(0), ones(5), 0.3).change(), once, atol=1e-11
    )
    twice = redirect(torch.cat([rows, rows[:1]]), torch.cat([guides, guides[:1]]), ones(count + 1), keep, ones(5), 0.3).change()
    double = torch.cat([2 * ones(1), ones(count - 1)])
    assert torch.allclose(redirect(rows, guides, double, keep, ones(5), 0.3).change(), twice, atol=1e-11)
    assert not torch.allclose(once, twice, atol=1e-6)


def test_one_after_the_other_is_not_the_joint_solve() -> None:
    rows, guides, none = random(2, WIDTH) + 3, random(2, WIDTH, seed=1), torch.zeros(0, WIDTH).double()
    joint = redirect(rows, guides, ones(2), none, ones(0), 0.3)
    first, second = (redirect(rows[i : i + 1], guides[i : i + 1], ones(1), none, ones(0), 0.3) for i in range(2))
    assert not torch.allclose(first.then(second).change(), joint.change(), atol=1e-3)


def test_a_ridge_of_zero_needs_enough_independent_rows() -> None:
    none = torch.zeros(0, WIDTH).double()
    for count in (3, 20):
        with pytest.raises(ValueError, match=f"ridge of 0 with {count} rows for {WIDTH} directions"):
            redirect(random(count, WIDTH), random(count, WIDTH, seed=1), ones(count), none, ones(0), 0.0)
    with pytest.raises(ValueError, match="ridge of -1"):
        redirect(random(3, WIDTH), random(3, WIDTH), ones(3), none, ones(0), -1.0)
    with pytest.raises(ValueError, match="linearly dependent"):
        redirect(torch.zeros(30, WIDTH).double(), random(30, WIDTH), ones(30), none, ones(0), 0.0)
    rows, guides = random(WIDTH, WIDTH), random(WIDTH, WIDTH, seed=1)
    solved = redirect(rows, guides, ones(WIDTH), none, ones(0), 0.0)
    assert torch.allclose(solved.apply(rows), guides, atol=1e-8)


def test_rows_and_guides_must_pair_up() -> None:
    with pytest.raises(ValueError, match="3 rows to redirect but 2 guides"):
        redirect(random(3, WIDTH), random(2, WIDTH), ones(3), random(0, WIDTH), ones(0), 0.3)


# --- maps ------------------------------------------------------------------------------------------------------------------------


def test_maps_compose_act_and_pull_as_their_matrices_do() -> None:
    one, two = (TextMap(random(WIDTH, r, seed=r), random(r, WIDTH, seed=r + 50)) for r in (2, 5))
    eye = torch.eye(WIDTH, dtype=torch.float64)
    a, b = eye + one.change(), eye + two.change()
    assert torch.allclose(eye + one.then(two).change(), a @ b, atol=1e-12)
    x = random(7, WIDTH, seed=3)
    assert torch.allclose(one.apply(x), x @ a.T, atol=1e-12)
    assert torch.allclose(one.pull(x.T), a.T @ x.T, atol=1e-12)
    nothing = TextMap.identity(WIDTH)
    assert nothing.rank == 0 and torch.equal(nothing.apply(x), x) and nothing.deltas({"w": random(3, WIDTH)}) == {}


def test_compact_finds_the_rank_and_loses_nothing() -> None:
    left, right = random(WIDTH, 3), random(3, WIDTH, seed=1)
    padded = TextMap(torch.cat([left, left @ random(3, 4, seed=2)], 1), torch.cat([right, random(4, 3, seed=3) @ right]))
    small = padded.compact()
    assert small.rank == 3
    assert torch.allclose(small.change(), padded.change(), atol=1e-12)
    assert torch.allclose(small.right @ small.right.T, torch.eye(3, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_deltas_are_low_rank_where_smaller_and_equal_the_float64_change_to_float32_rounding(dtype: torch.dtype) -> None:
    map_ = redirect(100 * random(9, WIDTH) + 300, random(9, WIDTH, seed=1), ones(9), random(2, WIDTH, seed=2), ones(2), 0.1)
    weights = {"small": random(10, WIDTH).to(dtype), "large": random(80, WIDTH, seed=4).to(dtype)}
    deltas = map_.deltas(weights)
    assert isinstance(deltas["small"], Dense) and isinstance(deltas["large"], LowRank)
    for name, weight in weights.items():
        expected = weight.double() @ map_.change()
        assert deltas[name].dense().dtype == torch.float32
        assert float((deltas[name].dense() - expected).norm() / expected.norm()) < 1e-6


def test_gram_is_the_sum_over_all_matrices_in_numpy() -> None:
    weights = {str(n): random(n, WIDTH, seed=n).float() for n in (3, 10, 80)}
    expected = sum(w.double().numpy().T @ w.double().numpy() for w in weights.values())
    assert np.abs(closed_form.gram(weights, WIDTH).numpy() - expected).max() < 1e-12
    with pytest.raises(ValueError, match="no weights"):
        closed_form.gram({}, WIDTH)


# --- rows of prompts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_prompt_ends_at_the_start_token(sd1: Model, empty: str) -> None:
    bank = TextRows.of(sd1, [empty, "cat"])
    assert torch.equal(bank.last(empty), bank.all(empty)[:1])
    assert torch.equal(bank.last("cat"), bank.all("cat")[3:4])  # the tiny tokenizer has one token per letter
    assert len(bank.content(empty)) == 0 and torch.equal(bank.all(empty)[1], bank.end(empty)[0])


def test_prompts_are_encoded_once_and_as_the_model_does(sd1: Model) -> None:
    bank = TextRows.of(sd1, ["cat", "dog", "cat"])
    assert bank.width == 32 and list(bank.prompts) == ["cat", "dog"]
    assert bank.all("cat").shape == (77, 32)
    assert torch.equal(bank.all("dog"), sd1.encode(["dog"]).tokens[0].double())
    assert bank.stacked(["cat", "dog"]).shape == (154, 32) and bank.stacked([]).shape == (0, 32)
    assert torch.equal(bank.stacked(["cat", "dog"], last=True), torch.stack([bank.all("cat")[3], bank.all("dog")[3]]))


@pytest.mark.filterwarnings("ignore:.*prompts are longer than")  # the last one is
@pytest.mark.filterwarnings("ignore:.* prompts are longer than the 75 tokens")
@pytest.mark.parametrize(("prompt", "guide"), [("cat", ""), ("cat", " "), ("cat", "art"), ("a", "painting"), ("x" * 90, "y")])
def test_aligned_rows_start_at_the_last_words_and_are_cut_to_77_minus_the_later(sd1: Model, prompt: str, guide: str) -> None:
    bank = TextRows.of(sd1, [prompt, guide])
    (s,), (g,) = ([part.last for part in bank.segments[text]] for text in (prompt, guide))
    rows, guides = bank.paired(prompt, guide, "aligned")
    assert len(rows) == len(guides) == 77 - max(s, g)
    assert torch.equal(rows, bank.all(prompt)[s : s + len(rows)]) and torch.equal(guides, bank.all(guide)[g : g + len(rows)])
    row, target = bank.paired(prompt, guide, "last")
    assert torch.equal(row, rows[:1]) and torch.equal(target, guides[:1])
    assert torch.equal(bank.paired(prompt, guide, "all")[0], bank.all(prompt))


def test_concept_rows_leave_the_words_before_alone_and_send_words_after_to_themselves(sd1: Model) -> None:
    prompt, guide = "a cat in ink", "a in ink"  # letters: a | c a t | i n | i n k
    bank = TextRows.of(sd1, [prompt, guide], ["a cat"])
    rows, guides = bank.paired(prompt, guide, "concept")
    source, target = bank.all(prompt), bank.all(guide)
    assert torch.equal(rows, source[2 : 2 + len(rows)])  # from the c of cat on, not from the article
    assert torch.equal(guides[:3], target[1].expand(3, -1))  # c, a, t -> a
    assert torch.equal(guides[3:], target[2 : 2 + len(rows) - 3])  # "in ink", end and padding -> the same words
    assert len(rows) == 2 + 77 - 4


# --- the benchmark -----------------------------------------------------------------------------------------------------------------


def test_benchmark_uses_the_shapes_of_stable_diffusion_1() -> None:
    """Against diffusers' own network, built without memory from the configuration that is shipped."""
    benchmark = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "closed_form.py"))
    config = json.loads((Path(loading.__file__).parent / "configs" / "sd1" / "unet" / "config.json").read_text())
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    real = [tuple(w.shape) for n, w in unet.named_parameters() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
    assert sorted(benchmark["shapes"]("sd14")) == sorted(real)
    assert len(real) == 32 and sum(out * width for out, width in real) == 19_169_280
