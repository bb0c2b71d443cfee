"""`import_edit`: a model that was erased elsewhere becomes an edit of its base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import original_transformers
from excise.edits import WeightEdit
from excise.edits.importing import import_edit, is_partial
from excise.jobs.inputs import difference
from excise.models import Model, load
from excise.models.fingerprint import named_tensors


def erase_by_hand(model: Model) -> list[str]:
    """Change the keys and values of one cross-attention in place; returns their names."""
    changed = [name for name in named_tensors(model) if "up_blocks.0.attentions.0" in name and "attn2.to_" in name][1:3]
    torch.manual_seed(5)
    for name in changed:
        named_tensors(model)[name].data += 0.1 * torch.randn_like(named_tensors(model)[name])
    return changed


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_base_with_the_imported_edit_is_the_erased_model(tiny_canvas: Path, dtype: str, tmp_path: Path) -> None:
    base, erased = (load(tiny_canvas, device="cpu", dtype=dtype) for _ in range(2))
    changed = erase_by_hand(erased)
    edit = import_edit(base, erased, concepts=(base.catalog.resolve("cat").to_dict(),))
    assert sorted(edit.deltas) == sorted(changed)
    assert (edit.manifest.method, edit.manifest.names) == ("imported", ["object:cat"])
    edit.save_pretrained(tmp_path / "edit")
    with WeightEdit.from_pretrained(tmp_path / "edit").applied(base):
        for name in changed:
            found, wanted = named_tensors(base)[name], named_tensors(erased)[name]
            assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-7)
            assert dtype == "float32" or torch.equal(found, wanted)


def test_file_with_some_tensors_of_the_unet(canvas: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    """Keys without a prefix, as ESD and UCE publish them, and half precision."""
    erased = load(tiny_canvas, device="cpu")
    changed = erase_by_hand(erased)
    tensors = {name.removeprefix("unet."): named_tensors(erased)[name].detach().half() for name in changed}
    save_file(tensors, tmp_path / "esd.safetensors")
    assert is_partial(tmp_path / "esd.safetensors", canvas)
    assert not any(is_partial(path, canvas) for path in (tiny_canvas, tiny_canvas / "classifier.safetensors"))
    edit = import_edit(canvas, tmp_path / "esd.safetensors")
    assert sorted(edit.deltas) == sorted(changed)
    assert edit.manifest.settings == {"from": "esd"}
    with edit.applied(canvas):
        assert torch.allclose(named_tensors(canvas)[changed[0]], named_tensors(erased)[changed[0]], atol=1e-3)


def test_refusals(canvas: Model, sd1: Model, sd2: Model, tiny_canvas: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same weights: there is no edit"):
        import_edit(canvas, load(tiny_canvas, device="cpu"))
    with pytest.raises(ValueError, match="different noise schedules"):
        import_edit(canvas, sd1)
    with pytest.raises(ValueError, match=r"not an erased form of the base: .* is \(.*\), not \("):
        sd2.pipeline.scheduler = sd1.pipeline.scheduler
        import_edit(sd1, sd2)
    erased = load(tiny_canvas, device="cpu")
    name = erase_by_hand(erased)[0]
    edit = import_edit(canvas, erased)
    with edit.applied(canvas), pytest.raises(ValueError, match="edits on"):
        import_edit(canvas, erased)
    named_tensors(erased)[name].data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        import_edit(canvas, erased)
    save_file({"down_blocks.7.weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match=r"holds down_blocks\.7\.weight, which the base does not have"):
        import_edit(canvas, tmp_path / "foreign.safetensors")


def _other_weight(model: Model) -> None:
    model.pipeline.vae.decoder.conv_in.bias.data += 0.01


def _other_scale(model: Model) -> None:
    model.pipeline.vae.register_to_config(scaling_factor=0.5)


@pytest.mark.parametrize("change", [_other_weight, _other_scale], ids=lambda change: change.__name__)
def test_another_autoencoder_is_refused(change: Callable[[Model], None], canvas: Model, tiny_canvas: Path) -> None:
    """An edit changes none: with it on, the base would not compute what the erased model does."""
    erased = load(tiny_canvas, device="cpu")
    erase_by_hand(erased)
    change(erased)
    with pytest.raises(ValueError, match="different autoencoders"):
        import_edit(canvas, erased)


def test_an_autoencoder_in_half_precision_is_the_same(canvas: Model, tiny_canvas: Path) -> None:
    erased = load(tiny_canvas, device="cpu")
    changed = erase_by_hand(erased)
    erased.pipeline.vae.half()
    assert sorted(import_edit(canvas, erased).deltas) == sorted(changed)


def test_files_with_tensors_of_a_transformer(
    flux: Model, tiny_flux: Path, z_image: Model, tiny_z_image: Path, tmp_path: Path
) -> None:
    """Names with and without the network's prefix, of some layers; and the whole transformer alone, as diffusers and its authors name it."""
    for base, folder, layer in (
        (flux, tiny_flux, "single_transformer_blocks.0.attn.to_k.weight"),
        (z_image, tiny_z_image, "cap_embedder.1.weight"),
    ):
        changed = f"transformer.{layer}"
        weight = named_tensors(base)[changed].detach()
        for number, name in enumerate((layer, changed)):
            save_file({name: weight + 0.5}, tmp_path / f"{number}.safetensors")
            found = difference(base, str(tmp_path / f"{number}.safetensors"), "cpu", "float32")
            assert list(found.deltas) == [changed]
        erased = load(folder, device="cpu")
        named_tensors(erased)[changed].data += 0.5
        save_file(dict(erased.pipeline.transformer.state_dict()), tmp_path / "whole.safetensors")
        assert list(difference(base, str(tmp_path / "whole.safetensors"), "cpu", "float32").deltas) == [changed]
    file = original_transformers.save_transformer(erased.pipeline, tmp_path / "original.safetensors")
    assert list(difference(z_image, str(file), "cpu", "float32").deltas) == ["transformer.cap_embedder.1.weight"]
