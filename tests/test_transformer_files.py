"""Single files of models with a transformer: what is read from them is what a folder holds, bit for bit, and others are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import original_transformers as originals
import tiny_models
import tiny_qwen
from excise.cli import app
from excise.models import Model, load
from excise.models.families import family_of
from excise.models.footprint import Footprint
from excise.models.transformer_file import networks_in_file
from excise.models.transformer_layouts import TRANSFORMERS

REAL_FLUX = 3072
"""The width of FLUX.1, the only one that diffusers' converter knows."""


def _sd3() -> Any:
    pipeline = tiny_models.sd3()
    with torch.no_grad():  # what its published files take for granted
        pipeline.text_encoder.text_projection.weight.copy_(torch.eye(32))
    return pipeline


MAKERS = {
    "StableDiffusion3Pipeline": _sd3, "FluxPipeline": tiny_models.flux, "ZImagePipeline": tiny_qwen.z_image,
    "Flux2KleinPipeline": tiny_qwen.flux2_klein, "QwenImagePipeline": tiny_qwen.qwen_image,
}  # fmt: skip


class _Narrow:
    """torch as the converter sees it, with a FLUX.1 that is as narrow as the tiny one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def split(self, tensor: torch.Tensor, sizes: tuple[int, ...], dim: int) -> Any:
        return torch.split(tensor, [size * 32 // REAL_FLUX for size in sizes], dim)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file_utils, "torch", _Narrow())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each family the folder, with `transformer.safetensors` in the original layout in it."""
    found = {}
    for layout in TRANSFORMERS:
        folder = tmp_path_factory.mktemp("models") / layout.pipeline
        pipeline = MAKERS[layout.pipeline]()
        pipeline.save_pretrained(folder)
        originals.save_transformer(pipeline, folder / "transformer.safetensors")
        found[layout.pipeline] = folder
    originals.save_whole(_sd3(), found["StableDiffusion3Pipeline"] / "whole.safetensors")
    return found


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Model]:
    """What the folders hold."""
    return {pipeline: load(folder, device="cpu") for pipeline, folder in folders.items()}


def _bits(model: Model) -> dict[str, torch.Tensor]:
    networks = {part: getattr(model.pipeline, part) for part in type(model).parts}
    return {f"{part}.{name}": tensor for part, network in networks.items() for name, tensor in network.state_dict().items()}


def _same(one: Model, other: Model) -> None:
    ours, theirs = _bits(one), _bits(other)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert one.sampler == other.sampler
    sampled = [model.sample(["a cat"], [0], steps=2, size=(16, 16)) for model in (one, other)]
    assert (sampled[0] - sampled[1]).abs().max() < 1e-5  # where tensors lie in memory may pick other kernels


@pytest.mark.parametrize("pipeline", MAKERS)
def test_a_transformer_alone_is_the_folder_it_was_made_from(
    pipeline: str, folders: dict[str, Path], models: dict[str, Model], tmp_path: Path
) -> None:
    folder = folders[pipeline]
    model, file = models[pipeline], folder / "transformer.safetensors"
    assert family_of(file).pipeline == pipeline
    single = load(file, device="cpu")  # described by the folder that it lies in
    _same(single, model)
    if pipeline == "Flux2KleinPipeline":  # its language model has 28 layers: once is enough
        return
    tensors = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()}
    inside = {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(inside, tmp_path / "other.safetensors")
    other = load(tmp_path / "other.safetensors", device="cpu", config_from=folder)
    weights = [each.pipeline.transformer.state_dict() for each in (other, model)]
    assert all(torch.equal(weights[0][name], weights[1][name] + 1) for name in weights[1]), "weights are the file's own"
    assert other.name == "other.safetensors" and other.folder is None


@pytest.mark.parametrize("pipeline", MAKERS)
def test_names_of_diffusers_are_read_too(
    pipeline: str, folders: dict[str, Path], models: dict[str, Model], tmp_path: Path
) -> None:
    folder = folders[pipeline]
    shutil.copy(next((folder / "transformer").glob("*.safetensors")), tmp_path / "plain.safetensors")
    networks = networks_in_file(tmp_path / "plain.safetensors", folder, family_of(folder), torch.bfloat16)
    ours, theirs = networks["transformer"].state_dict(), models[pipeline].pipeline.transformer.state_dict()
    assert list(networks) == ["transformer"] and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name].bfloat16()) for name in theirs)


def test_a_whole_file_needs_the_descriptions_alone(folders: dict[str, Path], models: dict[str, Model], tmp_path: Path) -> None:
    folder = folders["StableDiffusion3Pipeline"]
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    _same(load(folder / "whole.safetensors", device="cpu", config_from=bare), models["StableDiffusion3Pipeline"])
    half = [
        _bits(load(folder / "whole.safetensors", device="cpu", config_from=bare, dtype="float16")),
        _bits(load(folder, device="cpu", dtype="float16")),
    ]
    assert all(torch.equal(half[0][name], half[1][name]) for name in half[1])
    assert {name: tensor.dtype for name, tensor in half[0].items()} == {name: tensor.dtype for name, tensor in half[1].items()}
    with pytest.raises(ValueError, match=r"has no \.safetensors weights"):
        load(folder / "transformer.safetensors", device="cpu", config_from=bare)


def test_a_whole_file_of_flux(folders: dict[str, Path], models: dict[str, Model], tmp_path: Path) -> None:
    encoders = {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"}
    file = originals.save_whole(tiny_models.flux(), tmp_path / "flux.safetensors", encoders)
    projection = {"text_encoders.clip_l.transformer.text_projection.weight": torch.eye(24)}  # which FLUX.1 does not read
    _changed(file, file, **projection)
    bare = tmp_path / "bare"
    shutil.copytree(folders["FluxPipeline"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    _same(load(file, device="cpu", config_from=bare), models["FluxPipeline"])


def test_without_t5(tmp_path: Path) -> None:
    pipeline = tiny_models.sd3(with_t5=False)
    pipeline.save_pretrained(tmp_path / "sd3")
    originals.save_transformer(pipeline, tmp_path / "sd3" / "x.safetensors")
    assert load(tmp_path / "sd3" / "x.safetensors", device="cpu").pipeline.text_encoder_3 is None
    originals.save_whole(tiny_models.sd3(), tmp_path / "whole.safetensors")
    with pytest.raises(ValueError, match=r"whole\.safetensors holds text_encoder_3, which .* is without"):
        load(tmp_path / "whole.safetensors", device="cpu", config_from=tmp_path / "sd3")


def test_the_real_width_of_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' converter as it is, on a transformer as wide as the real one whose matrices have one column, or none of their own."""
    monkeypatch.undo()
    with torch.device("meta"):
        network = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    pipeline = type("FluxPipeline", (SimpleNamespace,), {})(transformer=network)
    found = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers(originals.original(pipeline))
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in found.items()} == shapes


def _changed(file: Path, to: Path, **changes: torch.Tensor | None) -> Path:
    """A copy of a file without a tensor, or with another in its place."""
    tensors = load_file(file)
    for name, tensor in changes.items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, to)
    return to


@pytest.mark.parametrize(
    "pipeline, name, tensor, words",
    [
        ("StableDiffusion3Pipeline", "joint_blocks.1.x_block.mlp.fc2.bias", None, "joint_blocks.1.x_block.mlp.fc2.bias"),
        ("StableDiffusion3Pipeline", "context_embedder.weight", torch.zeros(32, 63), r"\(32, 63\), expected \(32, 64\)"),
        ("StableDiffusion3Pipeline", "joint_blocks.2.x_block.mlp.fc2.bias", torch.zeros(32), "does not fit the transformer"),
        ("ZImagePipeline", "layers.1.attention.qkv.weight", None, "lacks layers.1.attention.to_k.weight"),
        ("ZImagePipeline", "siglip_embedder.0.weight", torch.zeros(3), "holds siglip_embedder.0.weight, which"),
        ("ZImagePipeline", "cap_embedder.1.weight", torch.full((32, 48), torch.nan), "not finite"),
        ("ZImagePipeline", "cap_embedder.1.weight", torch.zeros(32, 48, dtype=torch.float8_e4m3fn), "quantised.*load the edit as a LoRA"),
        ("QwenImagePipeline", "txt_in.weight_scale", torch.zeros(1), "quantised.*load the edit as a LoRA"),
        ("QwenImagePipeline", "txt_in.weight", torch.zeros(32, 48, dtype=torch.int8), "is I8, expected"),
        ("QwenImagePipeline", "txt_in.weight", torch.zeros(32, 48, dtype=torch.int64), "is I64, expected"),
        ("FluxPipeline", "single_blocks.0.linear1.weight", torch.zeros(33, 32), "does not fit the transformer"),
        ("Flux2KleinPipeline", "guidance_in.in_layer.weight", torch.zeros(32, 32), "holds .*guidance_embedder"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(
    pipeline: str, name: str, tensor: Any, words: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    file = _changed(folders[pipeline] / "transformer.safetensors", tmp_path / "x.safetensors", **{name: tensor})
    with pytest.raises(ValueError, match=words) as caught:
        load(file, device="cpu", config_from=folders[pipeline])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_folders_that_do_not_fit(folders: dict[str, Path], tmp_path: Path, tiny_sd1: Path) -> None:
    file = shutil.copy(folders["ZImagePipeline"] / "transformer.safetensors", tmp_path / "z.safetensors")
    with pytest.raises(ValueError, match=r"is Z-Image, the transformer alone; give config_from, a diffusers folder"):
        load(file, device="cpu")
    with pytest.raises(ValueError, match=r"has no model_index\.json; give config_from"):
        load(file, device="cpu", config_from=tmp_path / "nothing")
    for other in (folders["FluxPipeline"], tiny_sd1):
        with pytest.raises(ValueError, match=r"is Z-Image and .* describes a .*; give a folder of its family"):
            load(file, device="cpu", config_from=other)
    with pytest.raises(ValueError, match="prediction is for checkpoints of U-Nets"):
        load(file, device="cpu", config_from=folders["ZImagePipeline"], prediction="epsilon")
    endless = shutil.copytree(folders["ZImagePipeline"], tmp_path / "endless")
    config = json.loads((endless / "transformer" / "config.json").read_text())
    (endless / "transformer" / "config.json").write_text(json.dumps(config | {"n_layers": 10**7}))
    with pytest.raises(ValueError, match="more layers than there are weights"):
        load(file, device="cpu", config_from=endless)


def test_text_encoders_that_are_not_read(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = {
        f"model.diffusion_model.{k}": v for k, v in load_file(folders["ZImagePipeline"] / "transformer.safetensors").items()
    }
    save_file(tensors | {"text_encoders.qwen3_4b.transformer.model.norm.weight": torch.zeros(3)}, tmp_path / "all.safetensors")
    with pytest.raises(ValueError, match=r"holds a text encoder \(text_encoders\.qwen3_4b"):
        family_of(tmp_path / "all.safetensors")


def test_what_it_takes_is_known_from_the_descriptions(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["ZImagePipeline"]
    file = shutil.copy(folder / "transformer.safetensors", tmp_path / "z.safetensors")
    assert Footprint(file, config_from=folder).parts == Footprint(folder).parts
    with pytest.raises(ValueError, match="give config_from"):
        Footprint(file)


def test_an_autoencoder_of_unknown_layout_is_read_from_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(folders["QwenImagePipeline"] / "transformer.safetensors")
    inside = {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(inside | {"vae.decoder.conv_in.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="a AutoencoderKLQwenImage is read from a folder alone"):
        load(tmp_path / "x.safetensors", device="cpu", config_from=folders["QwenImagePipeline"])


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


def test_the_commands(folders: dict[str, Path], models: dict[str, Model], tmp_path: Path) -> None:
    folder = folders["StableDiffusion3Pipeline"]
    file = shutil.copy(folder / "transformer.safetensors", tmp_path / "sd3.safetensors")
    model = ["--model", file, "--config-from", folder]
    code, told = run("info", file)
    assert code == 0 and "Stable Diffusion 3, the transformer alone" in told
    small = ["--steps", 2, "--size", 16, "--device", "cpu"]
    for words in (
        ("erase", "cat", *model, "--method", "uce", "--out", tmp_path / "cat", *small),
        ("generate", "a cat", *model, "--edit", tmp_path / "cat", "--out", tmp_path / "cat.png", *small),
        ("export", tmp_path / "cat", "--to", tmp_path / "lora.safetensors"),
        ("apply", tmp_path / "cat", *model, "--to", tmp_path / "without", "--device", "cpu"),
    ):
        code, told = run(*words)
        assert code == 0, told
    without, base = _bits(load(tmp_path / "without", device="cpu")), _bits(models["StableDiffusion3Pipeline"])
    changed = {name for name, tensor in without.items() if not torch.equal(tensor, base[name])}
    assert changed == {"transformer.context_embedder.weight", "transformer.time_text_embed.text_embedder.linear_1.weight"}
    for words, line in (
        (("apply", tmp_path / "cat", *model, "--to", tmp_path / "x.safetensors"), "not written as one file"),
        (("apply", tmp_path / "cat", *model, "--to", folder / "x"), "which is never changed"),
        (("erase", "cat", "--model", file, "--out", tmp_path / "dog", "--dry-run"), "give config_from"),
        (("erase", "cat", "--model", folder, "--config-from", folder, "--out", tmp_path / "dog"), "describes itself"),
    ):
        code, told = run(*words)
        assert code == 2 and line in told and not (tmp_path / "dog").exists(), told
