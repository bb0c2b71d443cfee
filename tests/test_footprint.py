"""Sizes from configs alone are those of the loaded model, and a pass of fake tensors takes what a real one takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import excise
from excise.models import Model, load
from excise.models.checkpoint_file import WIDTH
from excise.models.conditioning import Conditioning
from excise.models.fingerprint import named_tensors
from excise.models.footprint import Footprint, _watched

CONFIGS = Path(excise.__file__).parent / "models" / "configs"


@pytest.mark.parametrize("base", ["tiny_sd1", "tiny_sdxl", "tiny_sd3", "tiny_flux", "tiny_canvas"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_and_work_are_those_of_the_loaded_model(base: str, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(base)
    model, found = load(folder, device="cpu", dtype=dtype), Footprint(folder, dtype)
    for part in found.parts:
        network = getattr(model.pipeline, part.name)
        assert (part.kind, part.parameters) == (type(network).__name__, sum(p.numel() for p in network.parameters()))
        assert part.bytes == sum(p.nbytes for p in network.parameters())
    assert found.bytes == sum(part.bytes for part in found.parts) and found.model.sampler == model.sampler
    trained = model.subspace("kv")
    work = found.work(trained, batch=3, pictures=2)
    assert work.learning == pytest.approx(watched_learning(model, trained, 3), rel=0.02)
    passes = 2 if model.guidance(model.sampler.guidance_scale) > 1 else 1
    told = model.encode([""])
    with _watched() as sampling, torch.no_grad():
        predict(model, passes * 2, told)
    assert work.sampling == pytest.approx(sampling.most, rel=0.3)  # attention may take another kernel
    assert work.learning > sampling.most / passes and work.decoding > 0


def watched_learning(model: Model, trained: list[str], batch: int) -> int:
    parameters = named_tensors(model)
    for name in trained:
        parameters[name].requires_grad_(True)
    told = model.encode([""])
    with _watched() as learning:
        predict(model, batch, told).float().square().mean().backward()
    return learning.most


def predict(model: Model, count: int, told: Conditioning) -> torch.Tensor:
    x = torch.randn(count, *model.latent_shape, dtype=model.dtype)
    return model.predict(x, torch.full((count,), 500), told.expand(count))


def test_a_checkpoint_of_a_published_size_is_described_by_the_shipped_configs(tmp_path: Path) -> None:
    save_file({WIDTH: torch.zeros(1, 768)}, tmp_path / "model.safetensors")
    parts = {part.name: part.parameters for part in Footprint(tmp_path / "model.safetensors").parts}
    assert parts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
    save_file({WIDTH: torch.zeros(1, 32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="sizes that no config here describes"):
        Footprint(tmp_path / "model.safetensors")


def test_a_folder_that_does_not_describe_its_networks_is_refused(tiny_sd1: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(tiny_sd1, tmp_path / "model")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**config, "block_out_channels": [7, 9]}))
    with pytest.raises(ValueError, match="does not describe a UNet2DConditionModel"):
        Footprint(folder)
