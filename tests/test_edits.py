"""Edits go on and off bit for bit, in any order; they know their base; their files are whole or refused."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny_models
from excise.edits import Dense, LowRank, Manifest, WeightEdit, all_removed, applied_edits, compose, load_edit, original_tensors
from excise.edits.applied import base_fingerprint
from excise.edits.deltas import difference
from excise.models import Model
from excise.models.fingerprint import fingerprint, named_tensors
from fresh_models import fresh

KV = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
VALUE = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight"
CONV = "unet.conv_in.weight"
TEXT = "text_encoder.encoder.layers.0.mlp.fc1.weight"


def _weights(model: Any) -> dict[str, Tensor]:
    """Copies of every editable tensor."""
    return {name: parameter.detach().clone() for name, parameter in named_tensors(model).items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def _edit(model: Any, *names: str, seed: int = 0, rank: int = 0, size: float = 0.1) -> WeightEdit:
    """A random edit of the named tensors; rank 0 is dense."""
    generator = torch.Generator().manual_seed(seed)
    tensors = named_tensors(model)
    deltas: dict[str, Dense | LowRank] = {}
    for name in names:
        shape = tensors[name].shape
        if rank:
            up = torch.randn(shape[0], rank, generator=generator)
            deltas[name] = LowRank(size * up, torch.randn(rank, shape[1], generator=generator))
        else:
            deltas[name] = Dense(size * torch.randn(shape, generator=generator))
    manifest = Manifest(
        model="tiny",
        base=base_fingerprint(model),
        method="random",
        concepts=[{"kind": "object", "name": f"thing {seed}"}],
        seed=seed,
    )
    return WeightEdit(deltas, manifest)


def test_apply_and_remove_are_bit_exact(sd1: Model) -> None:
    before, picture = _weights(sd1), sd1.sample(["a cat"], [0], steps=2)
    edit = _edit(sd1, KV, CONV, TEXT)
    edit.apply(sd1)
    on = _weights(sd1)
    assert {name for name in before if not torch.equal(before[name], on[name])} == {KV, CONV, TEXT}
    assert torch.equal(on[KV], before[KV] + edit.deltas[KV].dense())
    assert (sd1.sample(["a cat"], [0], steps=2) - picture).abs().max() > 1e-3
    edit.remove(sd1)
    assert _same(_weights(sd1), before)
    assert torch.equal(sd1.sample(["a cat"], [0], steps=2), picture)
    with pytest.raises(ValueError, match="not on this model"):
        edit.remove(sd1)


def test_with_block_takes_the_edit_off_after_an_error(sd1: Model) -> None:
    before, edit = _weights(sd1), _edit(sd1, KV)
    with pytest.raises(KeyboardInterrupt), edit.applied(sd1, scale=0.5):
        assert [(e is edit, scale) for e, scale in applied_edits(sd1)] == [(True, 0.5)]
        raise KeyboardInterrupt
    assert _same(_weights(sd1), before) and applied_edits(sd1) == ()


def test_all_are_off_inside_a_block_and_on_again_after_it(sd1: Model) -> None:
    before = _weights(sd1)
    one, other = _edit(sd1, KV, CONV, seed=1), _edit(sd1, KV, TEXT, seed=2, rank=2)
    with all_removed(sd1):
        assert applied_edits(sd1) == ()
    for edit, scale in ((one, 0.3), (other, 1.0), (one, 0.1)):
        edit.apply(sd1, scale)
    edited = _weights(sd1)
    with pytest.raises(KeyboardInterrupt), all_removed(sd1):
        assert applied_edits(sd1) == () and _same(_weights(sd1), before)
        raise KeyboardInterrupt
    assert applied_edits(sd1) == ((one, 0.3), (other, 1.0), (one, 0.1))
    assert _same(_weights(sd1), edited)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_several_edits_come_off_in_any_order(sd1: Model, order: tuple[int, ...]) -> None:
    """Whatever is left on, the weights are base + the deltas that are left, as a fresh application gives them."""
    before = _weights(sd1)
    edits = [_edit(sd1, KV, CONV, seed=1), _edit(sd1, KV, VALUE, seed=2, rank=2), _edit(sd1, VALUE, TEXT, seed=3)]
    for edit in edits:
        edit.apply(sd1)
    left = list(edits)
    for index in order:
        edits[index].remove(sd1)
        left.remove(edits[index])
        expected = dict(before)
        for edit in left:
            for name, delta in edit.deltas.items():
                expected[name] = expected[name] + delta.dense()
        assert _same(_weights(sd1), expected)


def test_the_same_edit_twice_counts_twice(sd1: Model) -> None:
    before, edit = _weights(sd1), _edit(sd1, KV)
    edit.apply(sd1)
    edit.apply(sd1, scale=-1.0)
    assert torch.allclose(_weights(sd1)[KV], before[KV], atol=1e-6)
    edit.remove(sd1)
    assert torch.equal(_weights(sd1)[KV], before[KV] + edit.deltas[KV].dense())
    edit.remove(sd1)
    assert _same(_weights(sd1), before)


@pytest.mark.parametrize("rank", [0, 2])
def test_scale(sd1: Model, rank: int) -> None:
    before, edit = _weights(sd1), _edit(sd1, KV, rank=rank)
    with edit.applied(sd1, scale=0.0):
        assert _same(_weights(sd1), before)
    with edit.applied(sd1, scale=0.5):
        half = _weights(sd1)
    assert torch.equal(half[KV], before[KV] + 0.5 * edit.deltas[KV].dense())
    with edit.scaled(0.5).applied(sd1):
        assert torch.equal(_weights(sd1)[KV], half[KV])  # a power of two: exact
    assert edit.scaled(0.5).scaled(4).manifest.settings["scale"] == 2.0
    with edit.scaled(3.0).applied(sd1):
        assert torch.allclose(_weights(sd1)[KV], before[KV] + 3 * edit.deltas[KV].dense(), atol=1e-6)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), float("-inf")])
def test_a_scale_that_is_no_number_is_refused(sd1: Model, scale: float) -> None:
    before, edit = _weights(sd1), _edit(sd1, KV)
    with pytest.raises(ValueError, match="scale of an edit must be a finite number"):
        edit.apply(sd1, scale)
    assert _same(_weights(sd1), before) and applied_edits(sd1) == ()


def test_what_was_measured_is_not_said_of_another_strength(sd1: Model) -> None:
    edit = _edit(sd1, KV).with_measurements({"ua": 0.99})
    assert edit.scaled(0.1).manifest.measurements == {} and edit.manifest.measurements == {"ua": 0.99}


@pytest.mark.parametrize("ranks", [(0, 0), (2, 3), (0, 2), (20, 20)])
def test_compose_is_both_at_once(sd1: Model, ranks: tuple[int, int]) -> None:
    one, two = _edit(sd1, KV, TEXT, seed=1, rank=ranks[0]), _edit(sd1, KV, VALUE, seed=2, rank=ranks[1])
    both = compose([one, two])
    with one.applied(sd1), two.applied(sd1):
        expected = _weights(sd1)
    with both.applied(sd1):
        found = _weights(sd1)
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in found)
    assert set(both.deltas) == {KV, VALUE, TEXT}
    assert isinstance(both.deltas[KV], LowRank) == (ranks == (2, 3)), "factors are kept while they are smaller than the weight"
    assert both.manifest.names == ["object:thing 1", "object:thing 2"]
    assert [entry["seed"] for entry in both.manifest.ledger] == [1, 2]
    assert both.manifest.base == one.manifest.base


def test_compose_refuses_nothing_and_other_bases(sd1: Model, sd2: Model) -> None:
    with pytest.raises(ValueError, match="nothing to compose"):
        compose([])
    with pytest.raises(ValueError, match="different bases"):
        compose([_edit(sd1, KV), _edit(sd2, KV)])


def test_low_rank_is_the_dense_product(sd1: Model) -> None:
    low = _edit(sd1, KV, rank=3)
    dense = WeightEdit({KV: Dense(low.deltas[KV].dense())}, low.manifest)
    assert torch.linalg.matrix_rank(dense.deltas[KV].dense()) == 3
    with low.applied(sd1):
        first = _weights(sd1)
    with dense.applied(sd1):
        assert _same(_weights(sd1), first)
    assert low.nbytes == 4 * 3 * (16 + 32) and dense.nbytes == 4 * 16 * 32


def test_difference_finds_what_changed(sd1: Model) -> None:
    before = _weights(sd1)
    with _edit(sd1, KV, CONV).applied(sd1):
        after = _weights(sd1)
    found = difference(before, after)
    assert set(found) == {KV, CONV}
    assert torch.equal(found[KV].dense(), after[KV] - before[KV])


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_save_and_load_bit_for_bit(sd1: Model, tmp_path: Path, rank: int, dtype: torch.dtype) -> None:
    edit = _edit(sd1, KV, TEXT, rank=rank)
    cast: dict[str, Any] = {
        name: Dense(d.value.to(dtype)) if isinstance(d, Dense) else LowRank(d.up.to(dtype), d.down.to(dtype))
        for name, d in edit.deltas.items()
    }
    edit = WeightEdit(cast, edit.manifest).with_measurements({"ua": 0.5, "title": "größer"})
    edit.save_pretrained(tmp_path / "edit")
    back = load_edit(tmp_path / "edit")
    assert sorted(p.name for p in (tmp_path / "edit").iterdir()) == ["edit.json", "edit.safetensors"]
    for name, delta in edit.deltas.items():
        assert type(back.deltas[name]) is type(delta)
        assert _same(delta.tensors(name), back.deltas[name].tensors(name))
    assert back.manifest.model_copy(update={"weights_sha256": ""}) == edit.manifest
    back.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "edit.safetensors").read_bytes() == (tmp_path / "edit" / "edit.safetensors").read_bytes()
    with back.applied(sd1):
        first = _weights(sd1)
    with edit.applied(sd1):
        assert _same(_weights(sd1), first)


def test_factors_may_be_shared_between_tensors(sd1: Model, tmp_path: Path) -> None:
    """Closed-form methods use the same right factor for every matrix."""
    down = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    edit = _edit(sd1, KV)
    shared = WeightEdit({KV: LowRank(torch.ones(16, 2), down), VALUE: LowRank(torch.ones(16, 2), down)}, edit.manifest)
    shared.save_pretrained(tmp_path / "edit")
    back = load_edit(tmp_path / "edit")
    assert torch.equal(back.deltas[VALUE].dense(), shared.deltas[VALUE].dense())


def test_an_existing_folder_is_only_replaced_when_asked(sd1: Model, tmp_path: Path) -> None:
    one, two = _edit(sd1, KV, seed=1), _edit(sd1, KV, seed=2)
    one.save_pretrained(tmp_path)
    with pytest.raises(FileExistsError):
        two.save_pretrained(tmp_path)
    assert load_edit(tmp_path).manifest.seed == 1
    two.save_pretrained(tmp_path, overwrite=True)
    assert load_edit(tmp_path).manifest.seed == 2


def test_works_on_a_plain_diffusers_pipeline(tiny_sd1: Path, sd1: Model, tmp_path: Path) -> None:
    _edit(sd1, KV, TEXT).save_pretrained(tmp_path / "edit")
    edit = load_edit(tmp_path / "edit")
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd1, safety_checker=None)
    before = _weights(pipeline)
    with edit.applied(pipeline):
        on = _weights(pipeline)
        with edit.applied(sd1):
            assert _same(on, _weights(sd1))
    assert not _same(on, before) and _same(_weights(pipeline), before)


def test_a_model_and_its_pipeline_are_one(sd1: Model) -> None:
    edit, before = _edit(sd1, KV), _weights(sd1)
    edit.apply(sd1)
    assert len(applied_edits(sd1.pipeline)) == 1
    edit.remove(sd1.pipeline)
    assert _same(_weights(sd1), before)
    with pytest.raises(TypeError, match="expected an excise Model or a diffusers pipeline"):
        edit.apply(object())


@pytest.mark.parametrize("kind", ["tiny_sd1", "tiny_sd2"])
def test_saved_model_with_the_edit_on_is_plain_diffusers(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Edit on -> save the pipeline -> load with plain diffusers -> the same picture without excise."""
    model = fresh(request.getfixturevalue(kind))
    edit, base = _edit(model, KV, TEXT), model.sample(["a cat"], [0], steps=2)
    with edit.applied(model):
        model.pipeline.save_pretrained(tmp_path)
        expected, weights = model.sample(["a cat"], [0], steps=2), _weights(model)
    plain = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    plain.set_progress_bar_config(disable=True)
    assert _same(_weights(plain), weights)
    pictures = plain(
        "a cat", num_inference_steps=2, height=16, width=16, generator=torch.Generator().manual_seed(0), output_type="pt"
    ).images
    assert (pictures - expected).abs().max() < 1e-5
    assert (expected - base).abs().max() > 1e-3


# Which model is it?


def test_another_base_is_refused(sd1: Model, sd2: Model, canvas: Model) -> None:
    edit = _edit(sd1, KV)
    for other in (sd2,):
        before = _weights(other)
        with pytest.raises(
            ValueError, match=r"made for another model: it names base [0-9a-f]{12} \(tiny\), but this one is [0-9a-f]{12}"
        ):
            edit.apply(other)
        assert _same(_weights(other), before) and applied_edits(other) == ()
    edit.apply(canvas)  # the same weights under another schedule and name


def test_one_changed_weight_makes_another_base(sd1: Model) -> None:
    edit = _edit(sd1, KV)
    with torch.no_grad():
        sd1.denoiser.conv_out.bias[0] += 1e-3
    with pytest.raises(ValueError, match="made for another model"):
        edit.apply(sd1)
    with torch.no_grad():
        sd1.denoiser.conv_out.bias[0] -= 1e-3


@pytest.mark.parametrize("assign", [False, True])
def test_weights_loaded_later_are_noticed(sd1: Model, assign: bool) -> None:
    edit = _edit(sd1, KV)
    other = {name: tensor + 0.01 for name, tensor in sd1.denoiser.state_dict().items()}
    sd1.denoiser.load_state_dict(other, assign=assign)
    with pytest.raises(ValueError, match="made for another model"):
        edit.apply(sd1)


@pytest.mark.parametrize("kind", ["tiny_sd1", "tiny_sd2"])
@pytest.mark.parametrize("edit_dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("model_dtype", ["float32", "float16", "bfloat16"])
def test_the_base_is_recognised_in_any_precision(
    kind: str, edit_dtype: str, model_dtype: str, request: pytest.FixtureRequest
) -> None:
    """An edit made on a half-precision load fits the float32 load of the same file, and the reverse."""
    folder = request.getfixturevalue(kind)
    edit = _edit(fresh(folder, edit_dtype), KV)
    model = fresh(folder, model_dtype)
    if {edit_dtype, model_dtype} == {"float16", "bfloat16"}:
        with pytest.raises(
            ValueError, match="made for another model"
        ):  # two roundings of one model: neither shows what it came from
            edit.apply(model)
        return
    before = _weights(model)
    with edit.applied(model):
        on = _weights(model)
        assert on[KV].dtype == getattr(torch, model_dtype)
        assert torch.equal(on[KV], (before[KV].float() + edit.deltas[KV].dense()).to(on[KV].dtype))
    assert _same(_weights(model), before)


def test_bases_that_differ_below_half_precision_are_told_apart(sd1: Model) -> None:
    """Their float16 casts are equal, but both are float32: not the same model."""
    edit = _edit(sd1, KV)
    with torch.no_grad():
        sd1.denoiser.conv_out.bias[0] *= 1 + 1e-6
    found = base_fingerprint(sd1)
    assert found["bfloat16"] == edit.manifest.base["bfloat16"] and found["float32"] != edit.manifest.base["float32"]
    with pytest.raises(ValueError, match="made for another model"):
        edit.apply(sd1)


def test_fingerprint_sees_names_shapes_and_every_byte() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    first = fingerprint(tensors)
    assert first == fingerprint(dict(reversed(tensors.items()))), "the order must not matter"
    changed = [{"a": torch.zeros(3, 2), "b": torch.ones(4)}, {"c": torch.zeros(2, 3), "b": torch.ones(4)}]
    changed.append({"a": torch.zeros(2, 3), "b": torch.tensor([1, 1, 1, 1.0000001])})
    changed.append({"a": torch.full((2, 3), -0.0), "b": torch.ones(4)})
    for other in changed:
        assert fingerprint(other)["float32"] != first["float32"]
    turned = {"a": torch.zeros(3, 2).T, "b": torch.ones(8)[::2]}
    assert fingerprint(turned) == first, "strides must not matter"
    assert fingerprint({k: t.bfloat16() for k, t in tensors.items()}) == {k: first[k] for k in ("float32", "bfloat16")}


def test_the_base_keeps_its_fingerprint_while_edits_are_on(sd1: Model) -> None:
    base = base_fingerprint(sd1)
    one, two = _edit(sd1, KV, CONV, seed=1), _edit(sd1, KV, seed=2)
    one.apply(sd1)
    assert base_fingerprint(sd1) == base
    two.apply(sd1)
    one.remove(sd1)
    assert base_fingerprint(sd1) == base == fingerprint(original_tensors(sd1))


def test_the_model_may_be_cast_while_an_edit_is_on(sd1: Model) -> None:
    """What comes back then is the base as the cast gives it, not the old tensors in the old precision."""
    before, edit = _weights(sd1), _edit(sd1, KV, TEXT)
    edit.apply(sd1)
    sd1.pipeline.to(dtype=torch.bfloat16)
    edit.remove(sd1)
    assert _same(_weights(sd1), {name: tensor.bfloat16() for name, tensor in before.items()})


def test_an_edit_that_does_not_fit_changes_nothing(sd1: Model) -> None:
    before, good = _weights(sd1), _edit(sd1, KV)
    unknown = WeightEdit({KV: good.deltas[KV], "unet.nowhere.weight": good.deltas[KV]}, good.manifest)
    with pytest.raises(ValueError, match=r"changes unet\.nowhere\.weight, which the model does not have"):
        unknown.apply(sd1)
    for wrong in (Dense(torch.ones(3, 3)), LowRank(torch.ones(16, 2), torch.ones(2, 31))):
        with pytest.raises(ValueError, match=r"change of .*to_v\.weight is .*, the weight is \(16, 32\)"):
            WeightEdit({KV: good.deltas[KV], VALUE: wrong}, good.manifest).apply(sd1)
    assert _same(_weights(sd1), before) and applied_edits(sd1) == ()


# Files that are not what they should be


@pytest.fixture
def saved(sd1: Model, tmp_path: Path) -> Path:
    _edit(sd1, KV, rank=2).save_pretrained(tmp_path / "edit")
    return tmp_path / "edit"


def _resave(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Replace the weights and make the manifest describe them, as a careless tool or an attacker would."""
    import hashlib

    save_file(tensors, folder / "edit.safetensors")
    digest = hashlib.sha256((folder / "edit.safetensors").read_bytes()).hexdigest()
    manifest = json.loads((folder / "edit.json").read_text())
    (folder / "edit.json").write_text(json.dumps({**manifest, "weights_sha256": digest}))


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such edit"):
        load_edit(tmp_path / "nowhere")
    for name in ("edit.json", "edit.safetensors"):
        folder = Path(shutil.copytree(saved, tmp_path / f"without-{name}"))
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"has no {name}"):
            load_edit(folder)


def test_truncated_and_foreign_weights(saved: Path) -> None:
    file = saved / "edit.safetensors"
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"not safetensors at all"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"edit\.safetensors is (damaged: not a whole safetensors file|not the file that)"):
            load_edit(saved)
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(ValueError, match="SHA-256 differs"):
        load_edit(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, f"{KV}:up": torch.full((16, 2), float("nan"))}, "not finite"),
        (lambda t: {**t, f"{KV}:down": torch.full((2, 32), float("inf"))}, "not finite"),
        (lambda t: {f"{KV}:up": t[f"{KV}:up"]}, "unexpected tensor .*:up"),
        (lambda t: {f"{KV}:down": t[f"{KV}:down"]}, "unexpected tensor .*:down"),
        (lambda t: {KV: t[f"{KV}:up"]}, "unexpected tensor"),
        (lambda t: {**t, f"{KV}:delta": torch.ones(16, 32)}, "unexpected tensor"),
        (lambda t: {**t, f"{KV}:down": torch.ones(3, 32)}, "factors"),
        (lambda t: {**t, f"{KV}:down": torch.ones(2)}, "factors"),
    ],
)
def test_wrong_tensors(saved: Path, change: Any, message: str) -> None:
    _resave(saved, change(load_file(saved / "edit.safetensors")))
    with pytest.raises(ValueError, match=message):
        load_edit(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": None}, r"edit\.json is not the manifest of an edit: method"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"format": 2}, r"edit\.json has format 2; this version of excise reads format 1"),
        ({"format": 2, "surprise": 1, "method": None}, "has format 2; this version of excise reads format 1"),
        ({"format": "new"}, "has format new"),
        ({"kind": "spell"}, "manifest of an edit: kind"),
        ({"base": "abc"}, "base"),
        ({"concepts": [{"name": "cat"}]}, r"concepts\.0\.kind: Field required"),
        (
            {"concepts": [{"name": "cat", "kind": "object", "phrases": "a cat"}]},
            r"concepts\.0\.phrases: Input should be a valid list",
        ),
        ({"restored": [{"kind": "object"}]}, r"restored\.0\.name: Field required"),
        (
            {"ledger": [{"model": "x", "base": {}, "method": "uce", "concepts": [{"name": "cat"}]}]},
            r"ledger\.0\.concepts\.0\.kind",
        ),
        ({"ledger": [{"method": "uce"}]}, r"ledger\.0\.model: Field required"),
    ],
)
def test_wrong_manifests(saved: Path, change: dict[str, Any], message: str) -> None:
    manifest = json.loads((saved / "edit.json").read_text())
    (saved / "edit.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ValueError, match=message) as caught:
        load_edit(saved)
    assert "\n" not in str(caught.value)


def test_manifests_of_before_know_no_precision(saved: Path) -> None:
    manifest = json.loads((saved / "edit.json").read_text())
    (saved / "edit.json").write_text(json.dumps({k: v for k, v in manifest.items() if k not in ("dtype", "device")}))
    assert manifest.keys() >= {"dtype", "device"} and load_edit(saved).manifest.dtype is None


def test_a_manifest_that_is_not_json(saved: Path) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[]"):
        (saved / "edit.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"edit\.json is (not a whole JSON file|UTF-16)"):
            load_edit(saved)


def test_an_empty_edit_changes_nothing(sd1: Model, tmp_path: Path) -> None:
    edit = WeightEdit({}, _edit(sd1, KV).manifest)
    edit.save_pretrained(tmp_path / "edit")
    before = _weights(sd1)
    with load_edit(tmp_path / "edit").applied(sd1):
        assert _same(_weights(sd1), before)


def test_states_do_not_keep_models_alive() -> None:
    """Which edits are on is remembered beside the model, and forgotten with it."""
    import gc
    import weakref

    pipeline = tiny_models.pipeline()
    _edit(pipeline, KV).apply(pipeline)
    reference = weakref.ref(pipeline.unet)
    del pipeline
    gc.collect()
    assert reference() is None
