"""Giving concepts back: what is left has the same bits as if they had never been erased; clear refusals where that cannot be."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from excise.cli import app
from excise.edits import (
    AdapterEdit,
    Delta,
    Dense,
    Edit,
    LowRank,
    Manifest,
    WeightEdit,
    compose,
    load_edit,
    members,
    restored,
)
from excise.edits.adapter import Adapter, Factors, Transport
from excise.edits.applied import base_fingerprint
from excise.models import Model
from excise.models.fingerprint import named_tensors

KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
VALUE = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight"
CAT, DOG, SKETCH = "object:cat", "object:dog", "style:sketch"
SEEDS = {CAT: 11, DOG: 12, SKETCH: 13, "object:bird": 14, "style:cat": 15}


def manifest(model: Model, *labels: str, method: str = "random", on: tuple[WeightEdit, ...] = ()) -> Manifest:
    concepts = [dict(zip(("kind", "name"), label.split(":"), strict=True)) for label in labels]
    below = [edit.manifest.model_dump() for edit in on]
    base = base_fingerprint(model)
    return Manifest(
        model="tiny", base=base, method=method, concepts=concepts, settings={"lr": 1.0}, ledger=below, measurements={"ua": 0.9}
    )


def changes(model: Model, seed: int, *, rank: int = 0) -> dict[str, Delta]:
    generator = torch.Generator().manual_seed(seed)
    tensors = named_tensors(model)
    found: dict[str, Delta] = {}
    for name in (KEY, VALUE)[: 1 + seed % 2]:  # even ones change one matrix only
        out, width = tensors[name].shape
        if rank:
            found[name] = LowRank(torch.randn(out, rank, generator=generator), torch.randn(rank, width, generator=generator))
        else:
            found[name] = Dense(torch.randn(out, width, generator=generator))
    return found


def joint(model: Model, *labels: str, seed: int = 1, rank: int = 0, **options: Any) -> WeightEdit:
    """An edit that erased its concepts in one change."""
    return WeightEdit(changes(model, seed, rank=rank), manifest(model, *labels, **options))


def separable(model: Model, *labels: str, **options: Any) -> WeightEdit:
    """An edit with a change for every concept, the same whichever others there are."""
    parts = {label: changes(model, SEEDS[label]) for label in labels}
    return WeightEdit.of_parts(parts, manifest(model, *labels, method="apart", **options))


def on_model(model: Model, edit: Edit) -> dict[str, torch.Tensor]:
    with edit.applied(model):
        return {name: tensor.detach().clone() for name, tensor in named_tensors(model).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def file_of(edit: Edit, folder: Path) -> bytes:
    edit.save_pretrained(folder, overwrite=True)
    return (folder / "edit.safetensors").read_bytes()


# --- separable edits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [s for n in (1, 2) for s in itertools.combinations((CAT, DOG, SKETCH), n)])
def test_any_subset_comes_back_to_the_same_bits_as_never_erased(canvas: Model, gone: tuple[str, ...], tmp_path: Path) -> None:
    whole = separable(canvas, CAT, DOG, SKETCH)
    left = [label for label in (CAT, DOG, SKETCH) if label not in gone]
    never = separable(canvas, *left)
    base = {name: tensor.detach().clone() for name, tensor in named_tensors(canvas).items()}
    whole.save_pretrained(tmp_path / "whole")
    for edit in (whole, load_edit(tmp_path / "whole")):
        found = restored(edit, gone)
        assert same(on_model(canvas, found), on_model(canvas, never))
        assert file_of(found, tmp_path / "found") == file_of(never, tmp_path / "never")
        assert found.manifest.names == left and found.manifest.measurements == {}
        assert [f"{c['kind']}:{c['name']}" for c in found.manifest.restored] == list(gone)
        assert same(on_model(canvas, load_edit(tmp_path / "found")), on_model(canvas, never))
    assert not same(on_model(canvas, whole), on_model(canvas, never)), "it did something before"
    assert same({name: tensor.detach() for name, tensor in named_tensors(canvas).items()}, base)


def test_what_is_on_the_model_is_the_numpy_sum_of_the_parts(canvas: Model) -> None:
    whole = separable(canvas, CAT, DOG, SKETCH)
    on, base = on_model(canvas, whole), named_tensors(canvas)
    for name in (KEY, VALUE):
        parts = [part[name].dense().numpy() for part in whole.parts.values() if name in part]
        expected = base[name].detach().numpy() + sum(parts[1:], parts[0])
        assert np.array_equal(on[name].numpy(), expected)


def test_parts_are_ordered_by_name_whatever_order_they_come_in(canvas: Model, tmp_path: Path) -> None:
    one, other = separable(canvas, SKETCH, CAT, DOG), separable(canvas, DOG, SKETCH, CAT)
    assert same(on_model(canvas, one), on_model(canvas, other))
    assert file_of(one, tmp_path / "one") == file_of(other, tmp_path / "other")


def test_one_after_the_other_is_both_at_once(canvas: Model, tmp_path: Path) -> None:
    whole = separable(canvas, CAT, DOG, SKETCH)
    files = {
        file_of(edit, tmp_path / "x")
        for edit in (
            restored(restored(whole, [CAT]), [SKETCH]),
            restored(restored(whole, [SKETCH]), [CAT]),
            restored(whole, [CAT, SKETCH]),
        )
    }
    assert len(files) == 1


def test_strength_and_measurements_keep_the_parts_apart(canvas: Model) -> None:
    half = separable(canvas, CAT, DOG).scaled(0.5).with_measurements({"ua": 1.0})
    left = restored(half, [CAT])
    assert same(on_model(canvas, left), on_model(canvas, separable(canvas, DOG).scaled(0.5)))
    assert left.nbytes == half.nbytes - sum(t.nbytes for d in half.parts[CAT].values() for t in d.tensors("").values())


# --- compositions -----------------------------------------------------------------------------------------------------------------


def test_members_of_a_composition_are_the_edits_it_was_made_of(canvas: Model, tmp_path: Path) -> None:
    edits = [joint(canvas, CAT, rank=2), joint(canvas, DOG, seed=2), separable(canvas, SKETCH, "object:bird")]
    compose([compose(edits[:2]), edits[2]]).save_pretrained(tmp_path / "both")
    pair, third = members(load_edit(tmp_path / "both"))
    for found, edit in zip((*members(pair), third), edits, strict=True):
        assert file_of(found, tmp_path / "found") == file_of(edit, tmp_path / "edit")
        assert found.manifest == edit.manifest
    assert members(edits[0]) == (edits[0],)


def test_dropping_members_leaves_the_bits_of_the_others(canvas: Model, tmp_path: Path) -> None:
    cat, dog, rest = joint(canvas, CAT, rank=2), joint(canvas, DOG, seed=2), separable(canvas, SKETCH, "object:bird")
    whole = compose([cat, dog, rest])
    cases = {
        (DOG,): compose([cat, rest]),
        (SKETCH,): compose([cat, dog, separable(canvas, "object:bird")]),
        (CAT, SKETCH): compose([dog, separable(canvas, "object:bird")]),
        (DOG, SKETCH, "object:bird"): cat,
    }
    for gone, never in cases.items():
        found = restored(whole, gone)
        assert file_of(found, tmp_path / "found") == file_of(never, tmp_path / "never")
        assert same(on_model(canvas, found), on_model(canvas, never))
        assert found.manifest.names == never.manifest.names and len(found.manifest.restored) == len(gone)
        assert [entry["method"] for entry in found.manifest.ledger] == [entry["method"] for entry in never.manifest.ledger]
    assert restored(whole, (DOG, SKETCH, "object:bird")).manifest.measurements == {"ua": 0.9}, "measured alone: still true"


def test_a_last_member_s_own_record_of_what_it_gave_back_stays(canvas: Model, tmp_path: Path) -> None:
    one = restored(separable(canvas, CAT, DOG, SKETCH), [CAT])
    found = restored(restored(compose([one, separable(canvas, "object:bird", "style:cat")]), ["bird"]), ["style:cat", SKETCH])
    assert found.manifest.names == [DOG]
    assert [concept["name"] for concept in found.manifest.restored] == ["cat", "bird", "sketch", "cat"]
    assert file_of(found, tmp_path / "found") == file_of(separable(canvas, DOG), tmp_path / "never")


def test_a_scaled_composition(canvas: Model) -> None:
    cat, dog = joint(canvas, CAT), joint(canvas, DOG, seed=2)
    left = restored(compose([cat, dog]).scaled(0.5), [DOG])
    assert same(on_model(canvas, left), on_model(canvas, cat.scaled(0.5))) and left.manifest.settings["scale"] == 0.5
    assert cat.manifest.measurements and left.manifest.measurements == {}, "measured at full strength"


def test_a_concept_that_two_members_erase_is_taken_out_of_both(canvas: Model) -> None:
    cat, again, dog = joint(canvas, CAT), joint(canvas, CAT, seed=3), joint(canvas, DOG, seed=2)
    assert same(on_model(canvas, restored(compose([cat, dog, again]), [CAT])), on_model(canvas, dog))


def test_adapters_are_given_back_alike(canvas: Model, tmp_path: Path) -> None:
    def adapters(*labels: str) -> AdapterEdit:
        parts = {}
        for label in labels:
            factors = {f"unet.{KEY[5:-7]}": Factors(torch.full((16, 1), float(SEEDS[label])), torch.ones(1, 32))}
            parts[label] = Adapter(factors, Transport.always(24, 32))
        return AdapterEdit.of_parts(parts, manifest(canvas, *labels).model_copy(update={"kind": "adapter"}))

    never = file_of(adapters(CAT), tmp_path / "never")
    for whole in (adapters(DOG, CAT), compose([adapters(DOG), adapters(CAT)])):
        whole.save_pretrained(tmp_path / "whole", overwrite=True)
        found = restored(load_edit(tmp_path / "whole"), [DOG])
        assert isinstance(found, AdapterEdit) and file_of(found, tmp_path / "found") == never


# --- refusals ---------------------------------------------------------------------------------------------------------------------


def test_concepts_erased_in_one_change_cannot_be_taken_apart(canvas: Model) -> None:
    edit = joint(canvas, CAT, SKETCH, method="uce")
    message = r"uce erased object:cat, style:sketch in one change .*excise erase style:sketch --method uce"
    for whole in (edit, compose([edit, joint(canvas, DOG, seed=2)])):
        with pytest.raises(ValueError, match=message):
            restored(whole, [CAT])
    assert restored(whole, [CAT, SKETCH]).manifest.names == [DOG]


def test_what_others_were_made_on_top_of_is_not_pulled_away(canvas: Model) -> None:
    cat = joint(canvas, CAT)
    dog = joint(canvas, DOG, seed=2, method="uce", on=(cat,))
    whole = compose([cat, dog])
    for edit in (whole, compose([whole, joint(canvas, SKETCH, seed=3)])):
        with pytest.raises(
            ValueError, match=r"object:dog was erased on top of object:cat \(uce\) and does not stand without it"
        ):
            restored(edit, [CAT])
    assert same(on_model(canvas, restored(whole, [DOG])), on_model(canvas, cat))
    apart = separable(canvas, DOG, on=(cat,))
    assert same(on_model(canvas, restored(compose([cat, apart]), [CAT])), on_model(canvas, apart))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], r"name at least one concept to give back; this edit erases object:cat, style:cat, object:dog"),
        (["object:dgo"], r"does not erase 'object:dgo'; did you mean 'object:dog'\? known: object:cat, style:cat, object:dog"),
        (["cat"], r"'cat' may be object:cat or style:cat; write which"),
        (["bird"], r"'bird' is not in this edit: it was erased by another one, which this one was made on top of"),
        (["object:cat", "style:cat", "Dog"], "nothing is left of this edit; use the base model"),
    ],
)
def test_refusals(canvas: Model, wanted: list[str], message: str) -> None:
    below = joint(canvas, "object:bird")
    with pytest.raises(ValueError, match=message):
        restored(separable(canvas, CAT, "style:cat", DOG, on=(below,)), wanted)


def test_a_file_with_changes_outside_of_its_parts_is_refused(canvas: Model, tmp_path: Path) -> None:
    separable(canvas, CAT).save_pretrained(tmp_path)
    path = tmp_path / "edit.safetensors"
    save_file({**load_file(path), f"{KEY}:delta": torch.ones(16, 32)}, path)
    description = json.loads((tmp_path / "edit.json").read_text(encoding="utf-8"))
    import hashlib

    description["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "edit.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ValueError, match="some of its changes belong to a part and some do not"):
        load_edit(tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_excise_restore(canvas: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    separable(canvas, CAT, DOG, SKETCH).save_pretrained(tmp_path / "all")
    code, printed, _ = run(
        "restore", tmp_path / "all", "--concept", "cat", "--concept", "style:sketch", "--out", tmp_path / "dog"
    )
    assert code == 0 and printed.startswith("given back: cat, style:sketch; still erased: object:dog: ")
    assert (tmp_path / "dog" / "edit.safetensors").read_bytes() == file_of(separable(canvas, DOG), tmp_path / "never")
    code, printed, _ = run("info", tmp_path / "dog")
    assert code == 0 and "given back  object:cat" in printed and "kept apart  object:dog" in printed
    assert run("apply", tmp_path / "dog", "--model", tiny_canvas, "--to", tmp_path / "model")[0] == 0, "plain apply knows it"
    assert run("restore", tmp_path / "all", "--concept", "cat", "--out", tmp_path / "all", "--overwrite")[0] == 0
    assert load_edit(tmp_path / "all").manifest.names == [DOG, SKETCH]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("whole", "--concept", "dog", "--out", "new"), "this edit does not erase 'dog'; known: object:cat, style:sketch"),
        (("whole", "--concept", "cat", "--out", "new"), "cannot be taken apart"),
        (("whole", "--concept", "cat", "--out", "whole"), "exists; choose another path"),
        (("nowhere", "--concept", "cat", "--out", "new"), "no such edit"),
    ],
)
def test_bad_input_is_one_line(
    canvas: Model, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    joint(canvas, CAT, SKETCH).save_pretrained("whole")
    code, printed, error = run("restore", *arguments)
    assert code == 2 and printed == "" and message in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole"]
