"""Edits of strangers: damaged or oversized tensors, in every kind of edit, whose digest fits, end in one line."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

import damage
from excise.digests import digest_file
from excise.edits import AdapterEdit, Dense, Edit, LowRank, Manifest, WeightEdit, compose, load_edit
from excise.edits.adapter import Adapter, Factors, Transport
from excise.edits.applied import base_fingerprint
from excise.edits.lora import LoRA
from excise.models import Model
from excise.models.fingerprint import named_tensors


def edits(model: Model) -> dict[str, Edit]:
    """One of every kind."""
    generator = torch.Generator().manual_seed(0)
    names = [entrance.weight for entrance in model.entrances][:3]
    shapes = {name: tuple(named_tensors(model)[name].shape) for name in names}

    def drawn(*shape: int) -> Tensor:
        return 0.01 * torch.randn(shape, generator=generator)

    def low(name: str) -> LowRank:
        return LowRank(drawn(shapes[name][0], 2), drawn(2, shapes[name][1]))

    concepts = [{"name": name, "kind": "object"} for name in ("cat", "dog")]
    manifest = Manifest(model="tiny", base=base_fingerprint(model), method="uce", concepts=concepts)
    told, empty = model.encode(["a cat"]).tokens, model.encode([""]).tokens
    cat = Transport(told, drawn(*told.shape[1:]), torch.zeros(1), empty)
    factors = {name.removesuffix(".weight"): Factors(low(name).up, low(name).down) for name in names}
    adapters = {"object:cat": Adapter(factors, cat), "object:dog": Adapter(factors, Transport.always(*told.shape[1:]))}
    dense = WeightEdit({name: Dense(drawn(*shapes[name])) for name in names}, manifest)
    parts = {"object:cat": {name: low(name) for name in names}, "object:dog": dense.deltas}
    return {
        "dense": dense,
        "low": WeightEdit({name: low(name) for name in names}, manifest),
        "parts": WeightEdit.of_parts(parts, manifest),
        "composed": compose([dense, WeightEdit.of_parts(parts, manifest)]),
        "adapter": AdapterEdit(adapters, manifest.model_copy(update={"kind": "adapter"})),
    }


def use(folder: Path, model: Model) -> None:
    edit = load_edit(folder)
    if isinstance(edit, WeightEdit):
        LoRA.of(edit)
        LoRA.of(edit, 1)
    with edit.scaled(0.5).applied(model), edit.applied(model):
        model.sample(["a cat", "a dog"], [0, 1], steps=1)


def believed(folder: Path) -> None:
    """Let the manifest say that the damaged file is the right one, as whoever damages it on purpose does."""
    manifest = json.loads((folder / "edit.json").read_text())
    (folder / "edit.json").write_text(json.dumps(manifest | {"weights_sha256": digest_file(folder / "edit.safetensors")}))


def test_damaged_edits_work_or_are_told(canvas: Model, tmp_path: Path) -> None:
    """Two hundred of them."""
    before = {name: tensor.clone() for name, tensor in named_tensors(canvas).items()}
    known, drawn = edits(canvas), random.Random(0)
    for name, edit in known.items():
        edit.save_pretrained(tmp_path / name)
    for number in range(200):
        name = drawn.choice(sorted(known))
        folder = shutil.copytree(tmp_path / name, tmp_path / str(number))
        how = damage.damage_bytes if drawn.random() < 0.2 else damage.damage_tensors
        what = how(folder / "edit.safetensors", drawn)
        believed(folder)
        end = damage.outcome(lambda folder=folder: use(folder, canvas), str(folder))  # type: ignore[misc]
        assert end in ("works", "told"), f"{name}: {what}: {end}"
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(canvas).items()), (
        "what failed left nothing behind"
    )


def test_damage_without_a_digest_that_fits_is_told_before_it_is_read(canvas: Model, tmp_path: Path) -> None:
    edits(canvas)["dense"].save_pretrained(tmp_path / "edit")
    damage.damage_tensors(tmp_path / "edit" / "edit.safetensors", random.Random(1))
    with pytest.raises(ValueError, match=r"is not the file that edit\.json describes"):
        load_edit(tmp_path / "edit")


@pytest.mark.parametrize("several", [False, True])
def test_factors_are_never_multiplied_out_before_they_fit(several: bool, canvas: Model, tmp_path: Path) -> None:
    """480 KB that ask for 14.4 GB: not to read them, to write them as a LoRA, to compose them, or to refuse them."""
    name, size = canvas.entrances[0].weight, 60_000
    manifest = edits(canvas)["low"].manifest
    wide = LowRank(torch.ones(size, 1), torch.ones(1, size))
    edit = (
        WeightEdit.of_parts({"a": {name: wide}, "b": {name: wide}}, manifest) if several else WeightEdit({name: wide}, manifest)
    )
    edit.save_pretrained(tmp_path / "edit")
    found = load_edit(tmp_path / "edit")
    for rank in (None, 1):
        assert LoRA.of(found, rank).tensors
    assert compose([found, found]).deltas[name].shape == (size, size)
    with pytest.raises(ValueError, match=rf"edit: the change of {name} is \(60000, 60000\), the weight is \(16, 32\)"):
        found.apply(canvas)
    mixed = {"a": {name: wide}, "b": {name: Dense(torch.ones(1, 1))}}
    with pytest.raises(ValueError, match=rf"changes of {name} do not add up: \(60000, 60000\) and \(1, 1\)"):
        WeightEdit.of_parts(mixed, manifest)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_the_best_factors_of_factors_are_those_of_their_product(rank: int, canvas: Model) -> None:
    """Oracle: numpy's singular value decomposition of the product."""
    import numpy as np

    name, generator = canvas.entrances[0].weight, torch.Generator().manual_seed(1)
    delta = LowRank(torch.randn(16, 5, generator=generator), torch.randn(5, 32, generator=generator))
    lora = LoRA.of(WeightEdit({name: delta}, edits(canvas)["low"].manifest), rank)
    up, down = (
        next(t for key, t in lora.tensors.items() if key.endswith(part)) for part in ("lora_up.weight", "lora_down.weight")
    )
    u, s, v = np.linalg.svd(delta.dense().double().numpy(), full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    assert np.allclose((up.double() @ down.double()).numpy(), best, atol=1e-5)
    assert lora.error == pytest.approx(np.sqrt((s[rank:5] ** 2).sum() / (s**2).sum()), abs=1e-6)


def test_an_adapter_for_other_prompts_is_refused(canvas: Model) -> None:
    edit = edits(canvas)["adapter"]
    assert isinstance(edit, AdapterEdit)
    factors = edit.parts["object:cat"].factors
    wrong = AdapterEdit({"x": Adapter(factors, Transport.always(7, 9))}, edit.manifest)
    with pytest.raises(ValueError, match=r"asks prompts of \(7, 9\) \(tokens, width\), the model's are \(77, 32\)"):
        wrong.apply(canvas)
