"""Counts of parameters on the real Stable Diffusion 1.x U-Net, built without memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import excise
from excise.erasure import subspaces
from excise.methods.spm import erase as spm


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    folder = Path(excise.__file__).parent / "models" / "configs" / "sd1"
    config = UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)


def size(unet: nn.Module, parameters: subspaces.Parameters) -> int:
    return sum(unet.get_parameter(name.removeprefix("unet.")).numel() for name in subspaces.select(unet, parameters))


def test_esd_and_sdd_train_what_their_papers_count(unet: nn.Module) -> None:
    assert size(unet, "kv") == 19_169_280
    assert round(size(unet, "attn2") / 1e6, 2) == 43.96
    assert size(unet, "not-attn2") + size(unet, "attn2") == size(unet, "full") == 859_520_964
    assert size(unet, "attn1") + size(unet, "attn2") == size(unet, "attn")
    assert size(unet, "noxattn") < size(unet, "not-attn2")


def test_an_spm_adapter_has_the_published_size(unet: nn.Module) -> None:
    layers = spm.adaptable(unet).values()
    assert sum(len(layer.weight) + layer.weight[0].numel() for layer in layers) == 423_936
