"""Folders whose weights are stored in half precision alone (`variant="fp16"`): they load, in the dtype that was asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
from excise.edits.applied import base_fingerprint
from excise.models import load

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """As diffusers itself writes it."""
    folder = tmp_path / "half"
    tiny_models.pipeline().to(torch.float16).save_pretrained(folder, variant="fp16")
    assert {path.name for path in folder.glob("*/*.safetensors")} == {f"{stem}.fp16.safetensors" for stem in STEMS.values()}
    return folder


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": tensor for part in STEMS for name, tensor in getattr(model.pipeline, part).state_dict().items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_half_precision_alone_loads_in_what_was_asked_for(half: Path, dtype: str) -> None:
    found, expected = load(half, device="cpu", dtype=dtype), tiny_models.pipeline().to(torch.float16)
    assert found.precision == dtype
    stored = {f"{part}.{name}": t for part in STEMS for name, t in getattr(expected, part).state_dict().items()}
    weights = _weights(found)
    assert weights.keys() == stored.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, stored[name].to(getattr(torch, dtype)) if tensor.is_floating_point() else stored[name])
    assert found.sample(["a cat"], [0], steps=1).isfinite().all()


@pytest.mark.parametrize("part", STEMS)
def test_mixed_folders_load_and_plain_weights_win(half: Path, tiny_sd1: Path, part: str) -> None:
    """Of the part with both, the full ones; of the others the only ones."""
    name = f"{STEMS[part]}.safetensors"
    shutil.copy(tiny_sd1 / part / name, half / part / name)
    mixed, whole = _weights(load(half, device="cpu")), _weights(load(tiny_sd1, device="cpu"))
    for key, tensor in whole.items():
        rounded = not torch.equal(tensor, tensor.half().to(tensor.dtype))
        assert torch.equal(mixed[key], tensor) == (key.startswith(f"{part}.") or not rounded), key
    (half / part / f"{STEMS[part]}.fp16.safetensors").unlink()
    assert base_fingerprint(load(half, device="cpu"))["float16"] == base_fingerprint(load(tiny_sd1, device="cpu"))["float16"]


def test_parts_in_several_files_load(tmp_path: Path) -> None:
    """As diffusers itself parts them."""
    pipeline = tiny_models.pipeline().to(torch.float16)
    pipeline.save_pretrained(tmp_path / "whole", variant="fp16")
    shutil.copytree(tmp_path / "whole", tmp_path / "parted")
    for part in STEMS:
        shutil.rmtree(tmp_path / "parted" / part)
        getattr(pipeline, part).save_pretrained(tmp_path / "parted" / part, variant="fp16", max_shard_size="20KB")
        assert len(list((tmp_path / "parted" / part).glob("*fp16*.safetensors"))) > 1
    one, other = (_weights(load(tmp_path / name, device="cpu")) for name in ("whole", "parted"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_other_variants_are_not_taken(half: Path) -> None:
    """What was trained on from a running mean is another model."""
    for part in STEMS:
        (half / part / f"{STEMS[part]}.fp16.safetensors").rename(half / part / f"{STEMS[part]}.non_ema.safetensors")
    with pytest.raises(ValueError, match=r"unet has no .*safetensors"):
        load(half, device="cpu")


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")  # diffusers gives it
def test_half_precision_alone_loads_from_the_hub(hub: Callable[[str, Path], None], half: Path) -> None:
    hub("somebody/half", half)
    one, other = (_weights(load(model, device="cpu")) for model in ("somebody/half", half))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_damage_is_named_as_in_other_folders(half: Path) -> None:
    weights = half / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "gate.weight": torch.ones(2)}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"unet holds gate\.weight, which its network does not have"):
        load(half, device="cpu")
    del tensors["conv_in.bias"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"unet lacks conv_in\.bias"):
        load(half, device="cpu")


@pytest.mark.parametrize(
    "shard", ["evil.bin", "model.pt", "../outside/o.safetensors", "/outside/o.safetensors", "a\\b.safetensors", "", 7, None]
)
@pytest.mark.parametrize("part", list(STEMS))
def test_a_list_of_shards_names_nothing_but_weights_beside_it(part: str, shard: Any, tiny_sd1: Path, tmp_path: Path) -> None:
    """A loader opens whatever such a list names: a pickle, or a file elsewhere."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_sd1, folder)
    whole = folder / part / f"{STEMS[part]}.safetensors"
    names = load_file(whole).keys()
    index = whole.with_name(f"{whole.name}.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))
    for present in (True, False):  # also where weights in one file lie beside the list
        if not present:
            whole.unlink()
        with pytest.raises(ValueError, match=r"index\.json names .*; a shard must be a \.safetensors file in the same folder"):
            load(folder, device="cpu")
