"""Stable Diffusion XL: pictures as diffusers makes them, and what only it has in its second way in for words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from torch import Tensor

import excise
import tiny_models
from excise.concepts import Concept
from excise.erasure.run import Run
from excise.methods import get
from excise.models import Conditioning, Model, Sampler

TINY = {"rounds": 2, "steps": 4, "batch": 2, "trajectories": 2, "sampler_steps": 3}


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 5.0])
def test_pictures_are_those_of_diffusers_to_the_bit(sdxl: Model, scale: float) -> None:
    start = sdxl.start_noise([3])
    expected = sdxl.pipeline(
        "a cat", num_inference_steps=3, guidance_scale=scale, latents=start.clone(), output_type="latent", height=16, width=16
    ).images
    assert torch.equal(sdxl.latents(["a cat"], [3], steps=3, guidance_scale=scale), expected)


def test_decoded_pictures_and_other_sizes_are_those_of_diffusers(sdxl: Model) -> None:
    start = sdxl.start_noise([3], size=(16, 24))
    expected = sdxl.pipeline(
        "a cat", num_inference_steps=2, guidance_scale=5.0, latents=start.clone(), output_type="pt", height=16, width=24
    ).images
    assert torch.equal(sdxl.sample(["a cat"], [3], steps=2, size=(16, 24)), expected)


def test_prompts_are_read_as_diffusers_reads_them(sdxl: Model) -> None:
    tokens, _, pooled, _ = sdxl.pipeline.encode_prompt("a cat", do_classifier_free_guidance=False)
    told = sdxl.encode(["a cat"])
    assert torch.equal(told.tokens, tokens) and told.pooled is not None and torch.equal(told.pooled, pooled)
    assert not sdxl.unconditional().tokens.any(), "the pipeline guides away from zeros, not from an empty prompt"
    sdxl.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert torch.equal(sdxl.unconditional().tokens, sdxl.encode([""]).tokens)


@pytest.mark.parametrize(
    "scheduler, expected",
    [
        (EulerDiscreteScheduler(timestep_spacing="leading"), Sampler(50, 5.0, 16)),
        (EulerAncestralDiscreteScheduler(timestep_spacing="trailing"), Sampler(4, 0.0, 16)),  # SDXL-Turbo
        (EulerDiscreteScheduler(timestep_spacing="trailing"), Sampler(4, 0.0, 16)),  # Lightning, SD-Turbo
        (
            EulerDiscreteScheduler(timestep_spacing="trailing", rescale_betas_zero_snr=True, prediction_type="v_prediction"),
            Sampler(50, 5.0, 16),
        ),
    ],
    ids=["base", "turbo", "lightning", "velocity"],
)
def test_the_sampler_is_the_one_that_its_authors_use(scheduler: Any, expected: Sampler, tmp_path: Path) -> None:
    tiny_models.sdxl(scheduler).save_pretrained(tmp_path)
    assert excise.load(tmp_path, device="cpu").sampler == expected


@pytest.mark.parametrize("method", ["mim", "uce"])
def test_only_the_columns_that_read_text_change(sdxl: Model, method: str) -> None:
    """`add_embedding` also reads the picture's size: what it makes of that stays."""
    found, cat = get(method), Concept("cat", "object", ("cat",), ("",), ("{object}",))
    settings = {key: value for key, value in TINY.items() if key in found.settings.model_fields}
    edit = found.erase(sdxl, [cat], found.settings(**settings), Run())
    change = edit.deltas["unet.add_embedding.linear_1.weight"].dense()
    width = sdxl.encode(["a cat"]).pooled.shape[1]  # type: ignore[union-attr]
    assert change.shape[1] > width and change[:, :width].any() and not change[:, width:].any()


def test_a_conditioning_keeps_its_pooled_rows(sdxl: Model) -> None:
    told = sdxl.encode(["a cat", "a dog"])
    x, t = torch.randn(2, *sdxl.latent_shape), torch.tensor([10, 700])
    together = sdxl.predict(x, t, told)
    apart: list[Tensor] = [sdxl.predict(x[[i]], t[[i]], told[i]) for i in range(2)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-6)
    swapped = Conditioning(told.tokens, told.pooled[[1, 0]])  # type: ignore[index]
    assert not torch.allclose(sdxl.predict(x, t, swapped), together, atol=1e-5)
