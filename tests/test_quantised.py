"""Quantised models are recognised by their files and refused with the way out, before a weight is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import excise.models.loading as loading
from excise.cli import app
from excise.edits import import_edit
from excise.files import Declared, write_tensors
from excise.models import Model, load
from excise.models.checkpoint_file import WIDTH
from excise.models.footprint import Footprint
from excise.models.quantised import check_names

WAY_OUT = r"quantised \(.+\).*erase the unquantised model, and load the edit as a LoRA"
UNET = "unet/diffusion_pytorch_model.safetensors"
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.fixture
def folder(tiny_sd1: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_sd1, tmp_path / "model")


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reads weights."""
    monkeypatch.setattr(loading, "load_network", lambda *args: pytest.fail("weights were read"))


def configured(file: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def holding(**tensors: torch.Tensor) -> Callable[[Path], None]:
    """The U-Net's file with other tensors; "__" stands for a dot."""

    def change(folder: Path) -> None:
        write_tensors(
            folder / UNET, load_file(folder / UNET) | {name.replace("__", "."): each for name, each in tensors.items()}
        )

    return change


def as_gguf(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet" / "model-Q4_K_M.gguf")


EIGHT = torch.zeros(2, 2, dtype=torch.uint8)
HOW = {
    "bitsandbytes' config": configured("unet/config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "torchao's config": configured("text_encoder/config.json", quantization_config={"quant_method": "torchao"}),
    "quanto's config": configured("vae/config.json", quantization_config={"quant_method": "quanto", "weights_dtype": "int8"}),
    "no method": configured("unet/config.json", quantization_config=[1]),
    "compressed": configured("text_encoder/config.json", compression_config={"format": "int-quantized"}),
    "the pipeline's": configured("model_index.json", quantization_config={"quant_backend": "bitsandbytes_4bit"}),
    "four bits": holding(**{f"{LAYER}__weight__absmax": EIGHT, f"{LAYER}__weight__quant_state__bitsandbytes__nf4": EIGHT}),
    "eight bits": holding(**{f"{LAYER}__SCB": torch.ones(2), f"{LAYER}__weight": EIGHT}),
    "quanto": holding(**{f"{LAYER}__weight___data": EIGHT, f"{LAYER}__weight___scale": torch.ones(2, 1)}),
    "nunchaku": holding(**{f"{LAYER}__qweight": EIGHT, f"{LAYER}__wscales": torch.ones(2)}),
    "float8": holding(**{f"{LAYER}__weight": torch.zeros(2, 2).to(torch.float8_e4m3fn)}),
    "gguf": as_gguf,
}  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_a_folder_is_refused(how: str, folder: Path, unread: None) -> None:
    HOW[how](folder)
    with pytest.raises(ValueError, match=WAY_OUT) as refused:
        load(folder, device="cpu")
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


FILES: dict[str, dict[str, torch.Tensor]] = {
    "float8 of SD 1.x": {WIDTH: torch.zeros(1, 768).to(torch.float8_e5m2)},
    "scaled float8 of FLUX": {
        "double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2).to(torch.float8_e4m3fn),
        "double_blocks.0.img_attn.qkv.scale_weight": torch.ones(1),
        "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn),
    },
    "nf4 of FLUX": {"double_blocks.0.img_attn.qkv.weight": EIGHT, "double_blocks.0.img_attn.qkv.weight.absmax": torch.ones(2)},
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_is_refused(what: str, tmp_path: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", FILES[what])
    for refuse in (lambda: load(tmp_path / "model.safetensors"), lambda: Footprint(tmp_path / "model.safetensors")):
        with pytest.raises(ValueError, match=WAY_OUT):
            refuse()


def test_a_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flux1-dev-Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=WAY_OUT):
        load(tmp_path / "flux1-dev-Q8_0.gguf")


def test_tensors_to_compare_are_refused(sd1: Model, tmp_path: Path) -> None:
    write_tensors(tmp_path / "erased.safetensors", {f"unet.{LAYER}.weight": torch.zeros(2, 2).to(torch.float8_e4m3fn)})
    with pytest.raises(ValueError, match=WAY_OUT):
        import_edit(sd1, tmp_path / "erased.safetensors")


@pytest.mark.parametrize(
    "command", [["erase", "cat", "--dry-run"], ["generate", "a cat", "--out", "out.png"], ["list", "methods"]]
)
def test_every_command_refuses_by_the_configs(command: list[str], folder: Path, unread: None) -> None:
    HOW["bitsandbytes' config"](folder)
    shown = CliRunner().invoke(app, [*command, "--model", str(folder)])
    assert shown.exit_code == 2 and "quantised (bitsandbytes)" in " ".join(shown.output.split()), shown.output


def test_plain_names_are_let_through(sd1: Model) -> None:
    """Names that only look like those: norms and embeddings have a scale."""
    plain = ["img_attn.norm.query_norm.scale", "logit_scale", "to_k.weight", "layer_scale", "x_data", "conv_scale.weight"]
    plain += [f"{part}.{name}" for part in sd1.parts for name in getattr(sd1.pipeline, part).state_dict()]
    check_names(Path("x"), {name: Declared((1,), "F32") for name in plain})


def test_a_model_on_the_hub_is_refused_by_its_configs(
    folder: Path, hub: Callable[[str, Path], None], unread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its weights, which may be large, are fetched."""
    HOW["torchao's config"](folder)
    hub("somebody/quantised", folder)
    asked: list[str] = []
    fetch = loading.hf_hub_download
    monkeypatch.setattr(loading, "hf_hub_download", lambda model, name: asked.append(name) or fetch(model, name))
    with pytest.raises(ValueError, match=WAY_OUT):
        load("somebody/quantised", device="cpu")
    assert asked and not [name for name in asked if name.endswith(".safetensors")]
