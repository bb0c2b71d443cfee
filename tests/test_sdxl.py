"""Stable Diffusion XL: pictures as diffusers makes them, and both ways in for words closed."""

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


# --- the second way in ---------------------------------------------------------------------------------------------------------------


def deaf_to_tokens(folder: Path) -> Path:
    """A model whose pictures depend on the pooled text alone: no value of any token reaches them."""
    pipeline = tiny_models.sdxl()
    with torch.no_grad():
        for name, weight in pipeline.unet.named_parameters():
            if name.endswith("attn2.to_v.weight"):
                weight.zero_()
            if name == "add_embedding.linear_1.weight":
                weight *= 20  # of random weights little would be seen
    pipeline.save_pretrained(folder)
    return folder


def distance(model: Model, one: str, other: str) -> float:
    """How differently two prompts are answered, on average over noise levels."""
    x, t = torch.randn(8, *model.latent_shape, generator=torch.Generator().manual_seed(0)), torch.arange(50, 850, 100)
    answers = [model.predict(x, t, model.encode([text]).expand(8)) for text in (one, other)]
    return float((answers[0] - answers[1]).norm())


@pytest.mark.parametrize("method", ["mim", "uce", "rece", "cure"])
def test_a_concept_that_enters_by_the_pooled_text_alone_is_erased(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erasing what the tokens say leaves it as it was: what unified-concept-editing's issue 35 reports of SDXL."""
    folder = deaf_to_tokens(tmp_path / "model")
    model = excise.load(folder, device="cpu")
    before = distance(model, "cat", "")
    assert before > 0.1 and distance(model, "cat", "dog") > 0.1

    def left() -> float:
        with erased(model, method).applied(model):
            return distance(model, "cat", "") / before

    both_ways, every = left(), type(model).entrances
    monkeypatch.setattr(type(model), "entrances", property(lambda own: [e for e in every.fget(own) if e.reads == "tokens"]))
    tokens_alone = left()
    assert both_ways < 0.35 and tokens_alone > 0.99, f"left: {both_ways:.2f} with both ways closed, {tokens_alone:.2f} with one"


def erased(model: Model, method: str) -> excise.Edit:
    found = get(method)
    settings = {key: value for key, value in TINY.items() if key in found.settings.model_fields}
    return found.erase(model, [cat()], found.settings(**settings | {"cure": {"alpha": 100.0}}.get(method, {})), Run())


def cat() -> Concept:
    return Concept("cat", "object", ("cat",), ("",), ("{object}",))


def test_only_the_columns_that_read_text_change(sdxl: Model) -> None:
    """`add_embedding` also reads the picture's size: what it makes of that stays."""
    for method in ("mim", "uce"):
        change = erased(sdxl, method).deltas["unet.add_embedding.linear_1.weight"].dense()
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
