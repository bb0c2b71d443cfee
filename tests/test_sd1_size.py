"""Counts of parameters on the real Stable Diffusion 1.x U-Net, built without memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

import excise
from excise.erasure import subspaces
from excise.models import Model


@pytest.fixture
def full_size(sd1: Model) -> Model:
    """A tiny model whose U-Net is the real one, on the meta device."""
    folder = Path(excise.__file__).parent / "models" / "configs" / "sd1"
    config = UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        sd1.pipeline.register_modules(unet=UNet2DConditionModel.from_config(config))
    return sd1


def size(model: Model, parameters: subspaces.Parameters) -> int:
    names = subspaces.select(model, parameters)
    return sum(model.denoiser.get_parameter(name.removeprefix("unet.")).numel() for name in names)


def test_esd_and_sdd_train_what_their_papers_count(full_size: Model) -> None:
    assert size(full_size, "kv") == 19_169_280
    assert round(size(full_size, "attn2") / 1e6, 2) == 43.96
    assert size(full_size, "not-attn2") + size(full_size, "attn2") == size(full_size, "full") == 859_520_964
    assert size(full_size, "attn1") + size(full_size, "attn2") == size(full_size, "attn")
    assert size(full_size, "noxattn") < size(full_size, "not-attn2")


def test_an_spm_adapter_has_the_published_size(full_size: Model) -> None:
    layers = full_size.adaptable().values()
    assert sum(len(layer.weight) + layer.weight[0].numel() for layer in layers) == 423_936
