"""`measure` as a whole: an exact model with closed forms, and real tiny pipelines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import Tensor

from exact_model import VARIANCE, Change, ExactModel
from excise.edits import Dense, Manifest, WeightEdit
from excise.edits.applied import applied_edits, base_fingerprint
from excise.information import PictureSet, make_pictures, measure, read_pictures
from excise.information.budget import least_budget, make_plan
from excise.information.heat_map import heat_map_figure, save_figure
from excise.information.picture_sets import all_wordings, plain_wordings
from excise.models import Model, load
from excise.models.fingerprint import named_tensors
from excise.report.plots import curves
from excise.results.information import Measurement

SMALL = 1500


@pytest.fixture
def exact(canvas: Model) -> ExactModel:
    return ExactModel.of(canvas)


@pytest.fixture(params=["velocity", "straight"])
def either_path(request: pytest.FixtureRequest, canvas: Model) -> ExactModel:
    """The same on the path of the canvas, and on a straight one."""
    if request.param == "straight":
        canvas.pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return ExactModel.of(canvas)


def reading(exact: ExactModel, edit: Change | None, **options: object) -> Measurement:
    pictures = {f"object:{name}": exact.pictures(name, 96) for name in ("cat", "dog")}
    return measure(exact, "cat", edit=edit, against=["dog"], pictures=pictures, budget=8_000, **options)  # type: ignore[arg-type]


def edit_of(model: Model, name_part: str, factor: float) -> WeightEdit:
    """Scales some weights."""
    deltas = {n: Dense((factor - 1) * p.detach().clone()) for n, p in named_tensors(model).items() if name_part in n}
    assert deltas
    concepts = [{"kind": "object", "name": "cat", "phrases": ["a cat"]}]
    return WeightEdit(deltas, Manifest(model=model.name, base=base_fingerprint(model), method="scale", concepts=concepts))


def test_exact_model_gives_its_closed_forms(either_path: ExactModel) -> None:
    """KL of two Gaussians, conditional and against the empty prompt; both forms."""
    found = reading(either_path, None).concepts[0]
    for contrast, distance in ((found.conditional, 0.4), (found.unconditional, 0.5)):
        truth = either_path.truth(distance)
        assert contrast.base.orthogonal.value == pytest.approx(truth, rel=0.03)
        assert contrast.base.plain.value == pytest.approx(truth, rel=0.2)
        assert contrast.base.plain.low < truth < contrast.base.plain.high
        assert contrast.base.steering is not None and contrast.base.steering.value == pytest.approx(1, abs=0.1)
        assert contrast.edited is None
    assert found.destruction is None


@pytest.mark.parametrize("lam", [0.5, -1.0])
def test_scaled_words_are_read_back(either_path: ExactModel, lam: float) -> None:
    exact, found = either_path, reading(either_path, Change(lam=lam))
    cat, dog = found.concepts[0].conditional, found.others[0].conditional
    assert cat.share_left is not None and cat.share_left.value == pytest.approx(lam**2, rel=1e-4)
    assert cat.steering is not None and cat.steering.value == pytest.approx(lam, rel=1e-4)
    assert cat.edited is not None and cat.edited.steering is not None
    assert cat.edited.steering.value == pytest.approx(lam, rel=0.1)
    assert cat.edited.plain.value == pytest.approx((2 * lam - lam**2) * exact.truth(0.4), rel=0.2)
    assert cat.alignment is not None and cat.alignment.value == pytest.approx(1 if lam > 0 else -1)
    assert dog.share_left is not None and dog.share_left.value == 1.0
    assert found.collateral is not None and found.collateral.mean.value == 1.0


def test_ignored_words_leave_nothing_and_the_blind_coefficient_says_undefined(exact: ExactModel) -> None:
    found = reading(exact, Change(lam=0.0))
    cat = found.concepts[0].conditional
    assert cat.edited is not None and cat.edited.orthogonal.value == 0 and cat.edited.at_floor
    assert cat.steering is not None and cat.steering.value == 0
    assert cat.edited.steering is None and cat.alignment is None
    assert "alignment" not in found.to_dict()["concepts"][0]["conditional"]


def test_destruction_is_what_the_empty_prompt_lost(either_path: ExactModel) -> None:
    exact, found = either_path, reading(either_path, Change(empty=-0.3)).concepts[0]
    assert found.destruction is not None and found.rest_loss is not None
    assert found.destruction.value == pytest.approx(exact.truth(0.8, 0.5), rel=0.1)
    assert found.destruction.low < exact.truth(0.8, 0.5) < found.destruction.high
    assert found.rest_loss.value == 0
    assert found.conditional.share_left is not None and found.conditional.share_left.value == 1.0


def test_collateral_names_the_worst(exact: ExactModel) -> None:
    found = measure(exact, "cat", edit=Change(dog=0.5), against=["dog", "bird"], budget=SMALL).collateral  # type: ignore[arg-type]
    assert found is not None and found.worst is not None and found.worst.concept == "object:dog"
    assert found.worst.value == pytest.approx(0.25, rel=1e-3) and found.of("object:dog") == found.worst
    assert found.of("object:bird") is None  # the base knows nothing of it: not measured, rather than 0 or 1
    assert found.mean.value == pytest.approx(0.25, rel=1e-3)


def test_louder_words_make_up_for_no_lost_ones(exact: ExactModel) -> None:
    found = measure(exact, "cat", edit=Change(dog=1.5), against=["dog"], budget=SMALL).collateral  # type: ignore[arg-type]
    assert found is not None and [each.value for each in found.kept] == pytest.approx([2.25], rel=1e-3)
    assert found.mean.value == found.mean.low == found.mean.high == 1


def test_single_pictures_have_no_interval(canvas: Model) -> None:
    deltas = {n: Dense(-0.5 * p.detach()) for n, p in named_tensors(canvas).items() if "attn2.to_v" in n}
    edit = WeightEdit(deltas, Manifest(model=canvas.name, base=base_fingerprint(canvas), method="hand", concepts=[]))
    found = measure(canvas, "cat", edit=edit, against=["dog", "bird"], budget=450).collateral
    assert found is not None and {each.n for each in found.kept} == {1}
    assert found.mean.interval is None and found.mean.value > 0


def test_pictures_that_the_sampler_makes_are_as_good_as_exact_draws(either_path: ExactModel) -> None:
    """At guidance 1 and with many steps its own law is sampled: mean and variance of what is measured on are those of the prompt."""
    either_path.sampler = replace(either_path.sampler, steps=100)
    made = make_pictures(either_path, [(either_path.catalog.resolve("cat"), 64)], seed=0)[0]
    shown = made.latents[..., :4].double() - either_path.mean(made.wordings[0].pair.prompt)
    assert abs(shown.mean()) < 0.02 and float(shown.var()) == pytest.approx(VARIANCE, rel=0.1)  # of first order


def test_erased_model_without_an_edit_is_compared_with_its_base(exact: ExactModel) -> None:
    erased = ExactModel.of(exact)
    erased.lam = 0.5
    found = measure(erased, "cat", base=exact, pictures={"object:cat": exact.pictures("cat", 40)}, budget=8000)
    cat = found.concepts[0].conditional
    assert cat.share_left is not None and cat.share_left.value == pytest.approx(0.25, rel=1e-3)
    assert found.settings.base == "exact"


def test_blind_audit_reads_the_steering_from_real_pictures_alone(exact: ExactModel) -> None:
    pictures = {"object:cat": exact.pictures("cat", 96)}
    exact.lam = -1.0
    found = measure(exact, "cat", pictures=pictures, budget=8_000)
    steering = found.concepts[0].conditional.base.steering
    assert steering is not None and steering.value == pytest.approx(-1, abs=0.1)
    assert found.concepts[0].source == "exact draws"
    assert not found.settings.self_made_pictures
    assert measure(exact, "cat", budget=SMALL).settings.self_made_pictures


def test_map_shows_where_the_words_are_seen_and_sums_to_the_nats(exact: ExactModel) -> None:
    found = reading(exact, Change(lam=0.5)).concepts[0]
    assert found.maps is not None and found.maps.edited is not None
    base = torch.tensor(found.maps.base)
    assert base.sum().item() == pytest.approx(found.conditional.base.orthogonal.value, rel=1e-4)
    assert not base[:, 4:].any() and (base[:, :4] > 0).all()
    assert torch.allclose(torch.tensor(found.maps.edited), base / 4, rtol=1e-3, atol=1e-6)


def test_curve_sums_to_the_nats_and_follows_the_exact_integrand(exact: ExactModel) -> None:
    found = reading(exact, None).concepts[0]
    edges = torch.tensor(found.curve.edges)
    values = torch.tensor(found.curve.base.orthogonal)
    assert (values * edges.diff()).sum().item() == pytest.approx(found.conditional.base.orthogonal.value)
    a = (edges[4] + edges[5]) / 2  # a bin in the middle
    snr = a.exp().item()
    density = 0.5 * 0.4**2 * 128 * snr / (1 + 0.25 * snr) ** 2
    assert values[4].item() == pytest.approx(density, rel=0.1)


def test_more_budget_narrows_the_interval(exact: ExactModel) -> None:
    def width(budget: int) -> float:
        estimate = measure(exact, "cat", budget=budget).concepts[0].conditional.base.plain
        return estimate.high - estimate.low

    assert width(3600) < 0.75 * width(900)


def test_same_seed_same_numbers_and_another_seed_others(canvas: Model) -> None:
    edit = edit_of(canvas, "attn2.to_v", 0.5)
    one, two, other = (measure(canvas, "cat", edit=edit, against=["dog"], budget=SMALL, seed=s).to_dict() for s in (0, 0, 1))
    for told in (one, two, other):
        told.pop("seconds")
    assert one == two
    assert one["concepts"] != other["concepts"]
    json.dumps(one, allow_nan=False)


def test_a_reading_does_not_depend_on_what_else_is_measured(canvas: Model) -> None:
    """Same pictures, levels and noise for a concept whoever stands beside it (given the same number of pictures)."""
    pictures = {"object:dog": make_pictures(canvas, [(canvas.catalog.resolve("dog"), 4)], seed=0)[0]}
    found = [
        measure(canvas, "cat", against=against, pictures=pictures, budget=8_000).others[0]
        for against in (["dog"], ["dog", "bird", "sketch"])
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("family", ["sd1", "sd2", "canvas"])
def test_edit_that_changes_nothing_reads_as_intact_and_one_that_ignores_words_as_empty(
    family: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(family)
    before = {name: tensor.clone() for name, tensor in named_tensors(model).items()}
    same = measure(model, "cat", edit=edit_of(model, "attn2.to_v", 1.0), budget=SMALL).concepts[0]
    assert same.conditional.base.orthogonal.value > 0.01
    assert same.conditional.share_left is not None and same.conditional.share_left.value == 1
    assert same.conditional.steering is not None and same.conditional.steering.value == pytest.approx(1)
    assert same.destruction is not None and same.destruction.value == 0
    deaf = measure(model, "cat", edit=edit_of(model, "attn2.to_v", 0.0), budget=SMALL).concepts[0]
    assert deaf.conditional.share_left is not None and deaf.conditional.share_left.value == 0
    assert deaf.unconditional.share_left is not None and deaf.unconditional.share_left.value == 0
    assert deaf.destruction is not None and deaf.destruction.value != 0
    assert not applied_edits(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(model).items())


def test_several_edits_are_on_at_once(canvas: Model) -> None:
    half, whole = edit_of(canvas, "attn2.to_v", 0.5), edit_of(canvas, "attn2.to_v", 0.0)
    both = measure(canvas, "cat", edit=[half, half], budget=SMALL)
    assert both.edits == ("scale object:cat", "scale object:cat")
    assert (
        both.concepts[0].conditional.share_left
        == measure(canvas, "cat", edit=whole, budget=SMALL).concepts[0].conditional.share_left
    )


def test_batches_do_not_change_the_numbers(canvas: Model) -> None:
    small, large = (measure(canvas, "cat", budget=SMALL, batch=batch).concepts[0].conditional.base for batch in (5, 500))
    assert small.orthogonal.value == pytest.approx(large.orthogonal.value, rel=1e-4)


def test_progress_counts_up_to_the_whole(canvas: Model) -> None:
    seen: list[tuple[str, int, int]] = []
    found = measure(canvas, "cat", against=["dog"], budget=SMALL, progress=lambda *step: seen.append(step))
    assert {stage for stage, _, _ in seen} == {"measuring"}
    counts = [done for _, done, _ in seen]
    assert counts == sorted(counts) and counts[-1] == seen[-1][2] == found.settings.evaluations <= SMALL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concepts": "horse"}, "unknown concept 'horse'"),
        ({"concepts": []}, "name at least one concept"),
        ({"concepts": "cat", "budget": 90}, "too small for 1 concept: at least"),
        ({"concepts": "cat", "against": ["camel"]}, "unknown concept 'camel'"),
    ],
)
def test_bad_input_is_refused(canvas: Model, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(canvas, **options)  # type: ignore[arg-type]


def test_a_base_of_another_kind_is_refused(canvas: Model, sd1: Model) -> None:
    with pytest.raises(ValueError, match="different noise paths"):
        measure(canvas, "cat", base=sd1, budget=SMALL)


def test_plan_stays_within_the_budget_and_says_what_is_needed(canvas: Model) -> None:
    resolve = canvas.catalog.resolve
    targets, others = [resolve("cat")], [resolve("dog"), resolve("sketch")]
    for budget in (1000, 5000, 20_000, 200_000):
        plan = make_plan(budget, targets, others, models=2, making=20, given={})
        assert plan.total <= budget
        assert plan.counts["object:cat"] >= plan.counts["object:dog"] == plan.counts["style:sketch"] >= 1
    with pytest.raises(ValueError, match=r"at least (\d+) are needed") as refusal:
        make_plan(300, targets, others, models=2, making=20, given={})
    least = int(str(refusal.value).split("at least ")[1].split()[0])
    assert make_plan(least, targets, others, models=2, making=20, given={}).counts["object:cat"] == 4
    with pytest.raises(ValueError, match="too small"):
        make_plan(least - 1, targets, others, models=2, making=20, given={})


@pytest.mark.parametrize("named", [1, 2])
@pytest.mark.parametrize("making", [20, 300, 700])
def test_every_budget_from_the_least_on_has_a_plan(canvas: Model, named: int, making: int) -> None:
    """Also where it would pay for more pilots than leave a picture of every concept."""
    concepts = [*canvas.catalog.of_kind("object"), *canvas.catalog.of_kind("style")]
    options: dict[str, Any] = {"models": 2, "making": making, "given": {}}
    least = least_budget(concepts[:named], concepts[named:], **options)
    for budget in range(least, least + 2000, 40):
        plan = make_plan(budget, concepts[:named], concepts[named:], **options)
        assert plan.total <= budget and plan.pilot >= 1 and min(plan.counts.values()) >= 1


def test_pictures_made_are_draws_of_the_prompts_law(exact: ExactModel) -> None:
    pictures = make_pictures(exact, [(exact.catalog.resolve("cat"), 40)], seed=0)[0]
    assert pictures.source == "made by exact at guidance 1"
    left, right = pictures.latents[..., :4], pictures.latents[..., 4:]
    assert left.mean().item() == pytest.approx(exact.mean("a cat"), abs=0.05)
    assert right.mean().item() == pytest.approx(0, abs=0.05)


def test_wordings(canvas: Model) -> None:
    cat, sketch = canvas.catalog.resolve("cat"), canvas.catalog.resolve("sketch")
    first, second = plain_wordings(cat)[:2]
    assert (first.pair.prompt, first.pair.masked, first.reworded) == ("a picture of a cat", "a picture", "something")
    assert second.pair.masked == "a picture in photo style"
    assert second.reworded == "something in the style of photo"
    assert plain_wordings(sketch)[1].pair.masked == "a picture of a cat"
    everything = all_wordings(cat)
    assert {wording.pair for wording in everything} == set(cat.pairs())
    found = make_pictures(canvas, [(cat, 12)], seed=0, phrasings="all")[0]
    assert len({wording.pair for wording in found.wordings}) == 12


def test_pictures_of_several_concepts_are_made_together(canvas: Model) -> None:
    """Each as if its concept were alone, but for its last bits; also where a batch ends within a concept."""
    wanted = [(canvas.catalog.resolve(name), count) for name, count in (("cat", 3), ("dog", 1), ("sketch", 2))]
    calls: list[int] = []
    hook = canvas.denoiser.register_forward_hook(lambda module, inputs, output: calls.append(len(output[0])))
    together = make_pictures(canvas, wanted, seed=0, batch=4)
    hook.remove()
    assert calls == [4] * canvas.sampler.steps + [2] * canvas.sampler.steps
    for (concept, count), pictures in zip(wanted, together, strict=True):
        alone = make_pictures(canvas, [(concept, count)], seed=0)[0]
        assert pictures.concept is concept and pictures.wordings == alone.wordings and len(pictures) == count
        torch.testing.assert_close(pictures.latents, alone.latents, rtol=0, atol=1e-3)


def test_real_pictures_are_read_from_folders(canvas: Model, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for i in range(3):
        Image.new("RGB", (30 + i, 20), (200, 30 * i, 10)).save(tmp_path / "cat" / f"{i}.png")
    cat, dog = canvas.catalog.resolve("cat"), canvas.catalog.resolve("dog")
    found = read_pictures(canvas, tmp_path, [cat, dog])
    assert list(found) == ["object:cat"]
    assert found["object:cat"].latents.shape == (3, *canvas.latent_shape)
    measured = measure(canvas, "cat", pictures=found, budget=SMALL).concepts[0]
    assert (measured.pictures, measured.source) == (3, str(tmp_path / "cat"))
    with pytest.raises(ValueError, match="no pictures of 'dog'"):
        read_pictures(canvas, tmp_path, [dog])
    (tmp_path / "inside").mkdir()
    with pytest.raises(ValueError, match=r"'\.\./cat' cannot be the name of a folder"):
        read_pictures(canvas, tmp_path / "inside", [replace(cat, name="../cat")])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_pictures(canvas, tmp_path / "nowhere", [dog])
    (tmp_path / "cat" / "9.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"9\.png is not a picture"):
        read_pictures(canvas, tmp_path, [cat])


def test_pictures_and_prompts_must_fit(canvas: Model) -> None:
    cat = canvas.catalog.resolve("cat")
    with pytest.raises(ValueError, match="1 prompts for 2 pictures of object:cat"):
        PictureSet(cat, tuple(plain_wordings(cat)[:1]), torch.zeros(2, *canvas.latent_shape), "")
    pair = cat.pair("a picture[ in {style} style]", "a cat")
    with pytest.raises(ValueError, match="'a picture' does not contain object:cat"):
        PictureSet.of_pictures(canvas, cat, torch.zeros(1, 3, 16, 16), [pair])


def test_figures_are_drawn(canvas: Model, tmp_path: Path) -> None:
    found = measure(canvas, ["cat", "dog"], edit=edit_of(canvas, "attn2.to_v", 0.5), budget=4000)
    save_figure(heat_map_figure(found), tmp_path / "map.png")
    drawn = curves(found.concepts)
    assert drawn is not None
    save_figure(drawn, tmp_path / "curve.svg")
    with Image.open(tmp_path / "map.png") as picture:
        assert min(picture.size) > 300
    assert "<svg" in (tmp_path / "curve.svg").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        save_figure(drawn, tmp_path / "curve.txt")


def test_half_precision_reads_as_single(tiny_canvas: Path) -> None:
    values = [
        measure(load(tiny_canvas, device="cpu", dtype=dtype), "cat", budget=SMALL).concepts[0].conditional.base.orthogonal.value
        for dtype in ("float32", "bfloat16")
    ]
    assert values[1] == pytest.approx(values[0], rel=0.3)


def test_the_least_budget_is_just_enough(canvas: Model) -> None:
    catalog = canvas.catalog
    targets, others = [catalog.resolve("cat"), catalog.resolve("owl")], [catalog.resolve("dog")]
    options: dict[str, Any] = {"models": 2, "making": 20, "given": {"object:cat": 9}}
    least = least_budget(targets, others, **options)
    plan = make_plan(least, targets, others, **options)
    assert plan.total == least and plan.counts == {"object:cat": 4, "member:owl": 4, "object:dog": 1}
    with pytest.raises(ValueError, match=f"at least {least} are needed"):
        make_plan(least - 1, targets, others, **options)


def test_no_prompt_names_what_is_erased_beside_what_it_is_about(canvas: Model) -> None:
    found = measure(canvas, ["cat", "style:photo"], against=["sketch", "dog"], budget=4 * SMALL)
    prompts = {reading.concept: set(reading.prompts) for reading in (*found.concepts, *found.others)}
    assert any("dog" in prompt for prompt in prompts["style:sketch"]) and any("sketch" in p for p in prompts["object:dog"])
    for label, asked in prompts.items():
        assert label == "object:cat" or not any("cat" in prompt.split() for prompt in asked), label
        assert label == "style:photo" or not any("photo" in prompt.split() for prompt in asked), label


def test_words_are_not_rounded_where_the_model_is(tiny_canvas: Path) -> None:
    """A mixed model answers in float32 about what is measured, the erased concept and others."""
    plain, mixed = (load(tiny_canvas, device="cpu", dtype=dtype) for dtype in ("float32", "mixed"))
    pictures = {
        f"object:{name}": make_pictures(plain, [(plain.catalog.resolve(name), 24)], seed=0)[0] for name in ("cat", "dog")
    }
    found = [
        measure(model, "cat", edit=edit_of(model, "attn2.to_v", 0.9), against=["dog"], pictures=pictures, budget=SMALL)
        for model in (plain, mixed)
    ]
    assert mixed.precision == "mixed"
    exact, same = found
    assert exact.concepts[0].conditional == same.concepts[0].conditional
    assert exact.others[0].conditional == same.others[0].conditional
    assert [each.settings.precision for each in found] == ["float32"] * 2


def _counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches that the network is asked for from now on."""
    asked: list[int] = []
    inner = model.predict

    def predict(x: Tensor, *rest: Any) -> Tensor:
        asked.append(len(x))
        return inner(x, *rest)

    monkeypatch.setattr(model, "predict", predict)
    return asked


@pytest.fixture
def nats_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nats"


def test_what_the_base_says_is_kept_and_changes_no_bit(
    canvas: Model, nats_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty cache, a full one, a damaged one and none: the same numbers. Only the edited model is asked again."""
    edit = edit_of(canvas, "attn2.to_k", 0.5)
    options: dict[str, Any] = {"edit": edit, "against": ["dog"], "budget": 700, "seed": 1}
    plain = {**measure(canvas, "cat", **options).to_dict(), "seconds": 0}
    assert not nats_cache.exists()
    asked = _counted(canvas, monkeypatch)

    def again() -> int:
        asked.clear()
        assert {**measure(canvas, "cat", **options, keep=True).to_dict(), "seconds": 0} == plain
        return sum(asked)

    first, second = again(), again()
    assert first == plain["settings"]["evaluations"] and 0 < second < first / 2
    for file in nats_cache.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-9])
    assert again() == first and again() == second
    with edit.applied(canvas):
        before = len(list(nats_cache.rglob("*.safetensors")))
        measure(canvas, "cat", budget=700, keep=True)
        assert len(list(nats_cache.rglob("*.safetensors"))) == before, "nothing is kept of a model that carries an edit"


@pytest.mark.parametrize("change", [{"seed": 2}, {"guidance_scale": 2.0}, {"phrasings": "all"}, {"batch": 5}])
def test_other_questions_are_not_answered_from_the_cache(
    canvas: Model, nats_cache: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"budget": 700, "seed": 1}
    measure(canvas, "cat", **options, keep=True)
    plain = measure(canvas, "cat", **{**options, **change})
    asked = _counted(canvas, monkeypatch)
    found = measure(canvas, "cat", **{**options, **change}, keep=True)
    assert sum(asked) == plain.settings.evaluations
    assert {**found.to_dict(), "seconds": 0} == {**plain.to_dict(), "seconds": 0}


def test_nothing_is_kept_of_large_latents(canvas: Model, nats_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excise.information.residual.SMALL", 1)
    measure(canvas, "cat", budget=700, keep=True)
    assert not nats_cache.exists()
