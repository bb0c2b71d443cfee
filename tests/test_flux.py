"""FLUX.1 dev and schnell: pictures as diffusers makes them, and guidance as a number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import excise
import tiny_models
from excise.edits import load_edit
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.models import Model, Sampler
from excise.models.families.picture_tokens import packed, unpacked


@pytest.fixture(scope="module")
def tiny_schnell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "schnell"
    tiny_models.flux(dev=False).save_pretrained(folder)
    return folder


@pytest.fixture(params=["dev", "schnell"])
def either(request: pytest.FixtureRequest, tiny_flux: Path, tiny_schnell: Path) -> Model:
    return excise.load(tiny_flux if request.param == "dev" else tiny_schnell, device="cpu")


def by_diffusers(model: Model, start: Tensor, size: tuple[int, int] = (16, 16), **options: Any) -> Tensor:
    """Finished latents (1, c, h, w) of "a cat" by the pipeline, which packs them by itself."""
    pipeline = model.pipeline
    given = pipeline._pack_latents(start, 1, start.shape[1], *start.shape[-2:])
    made = pipeline(
        "a cat", latents=given, output_type="latent", height=size[0], width=size[1], max_sequence_length=64, **options
    )
    return pipeline._unpack_latents(made.images, *size, pipeline.vae_scale_factor)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5, 7.0])
def test_pictures_are_those_of_diffusers_to_the_bit(either: Model, scale: float) -> None:
    expected = by_diffusers(either, either.start_noise([3]), num_inference_steps=3, guidance_scale=scale)
    assert torch.equal(either.latents(["a cat"], [3], steps=3, guidance_scale=scale), expected)


def test_decoded_pictures_and_other_sizes_are_those_of_diffusers(flux: Model) -> None:
    start = flux.start_noise([3], size=(16, 24))
    latents = by_diffusers(flux, start, (16, 24), num_inference_steps=2)
    assert torch.equal(flux.latents(["a cat"], [3], steps=2, size=(16, 24)), latents)
    given = flux.pipeline._pack_latents(start, 1, 4, 8, 12)
    expected = flux.pipeline(
        "a cat", latents=given, output_type="pt", height=16, width=24, max_sequence_length=64, num_inference_steps=2
    ).images
    assert torch.equal(flux.sample(["a cat"], [3], steps=2, size=(16, 24)), expected)


def test_prompts_are_read_as_diffusers_reads_them(either: Model) -> None:
    for prompt in ("a cat", "", "A Cat! " * 20):
        tokens, pooled, _ = either.pipeline.encode_prompt(prompt, max_sequence_length=64)
        told = either.encode(["something else", prompt])[1]
        assert torch.allclose(told.tokens, tokens, atol=1e-6) and told.pooled is not None
        assert torch.allclose(told.pooled, pooled, atol=1e-6)


def test_the_sampler_and_the_length_of_prompts_are_those_that_its_authors_use(flux: Model, tiny_schnell: Path) -> None:
    schnell = excise.load(tiny_schnell, device="cpu")
    assert (flux.sampler, schnell.sampler) == (Sampler(28, 3.5, 16), Sampler(4, 0.0, 16))
    for model, rows in ((flux, 512), (schnell, 256)):
        model.pipeline.tokenizer_2.model_max_length = 10_000
        assert model.encode(["a cat"]).tokens.shape[1] == rows and model.room == rows - 1


def test_latents_are_packed_as_the_pipeline_does_it(flux: Model) -> None:
    x = torch.randn(2, 4, 6, 10)
    assert torch.equal(packed(x), flux.pipeline._pack_latents(x, 2, 4, 6, 10))
    assert torch.equal(unpacked(packed(x), 3, 5), x)


def test_the_scale_is_a_number_that_the_network_is_told_in_a_single_pass(flux: Model) -> None:
    seen: list[Mapping[str, Any]] = []
    flux.denoiser.register_forward_pre_hook(lambda module, inputs, named: seen.append(named), with_kwargs=True)
    flux.latents(["a cat", "a dog"], [0, 1], steps=2, guidance_scale=5.0)
    assert [(len(named["hidden_states"]), named["guidance"].tolist()) for named in seen] == [(2, [5.0, 5.0])] * 2
    seen.clear()
    flux.predict(torch.randn(2, *flux.latent_shape), torch.tensor([10, 700]), flux.encode(["a cat", ""]))
    assert [named["guidance"].tolist() for named in seen] == [[1.0, 1.0]], "what no sampler asks is not guided"
    seen.clear()
    flux.latents(["a cat"], [0], steps=1, guidance_scale=-2.0, signed=True)
    assert [(len(named["hidden_states"]), named["guidance"].tolist()) for named in seen] == [(2, [1.0, 1.0])]


def test_a_signed_scale_is_classifier_free_guidance_of_the_unguided_network(flux: Model) -> None:
    """Oracle: one step of Euler by hand, along the straight line from noise to the picture."""
    start, told = flux.start_noise([0]), flux.encode(["a cat", ""])
    t = torch.tensor([1000.0])
    with_, without = (flux.predict(start, t, told[row]) for row in (0, 1))
    found = flux.latents(["a cat"], [0], steps=1, guidance_scale=-2.0, signed=True)
    assert torch.allclose(found, start - (without - 2.0 * (with_ - without)), atol=1e-5)


def test_pictures_of_different_scales_are_not_taken_for_each_other(
    flux: Model, tiny_schnell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model whose scale is a number in one pass, all scales mean no second pass: the cache must tell them apart."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    made = [generated_latents(flux, ["a cat"], [0], run=Run(), steps=2, guidance_scale=scale) for scale in (1.0, 3.5, 3.5)]
    assert not torch.equal(made[0], made[1]) and torch.equal(made[1], made[2])
    assert torch.equal(made[1], flux.latents(["a cat"], [0], steps=2, guidance_scale=3.5))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    schnell = excise.load(tiny_schnell, device="cpu")
    assert schnell.guidance_seen(3.5) == schnell.guidance_seen(0.0) != flux.guidance_seen(3.5)


def test_pictures_of_prompts_that_differ_where_clip_has_ended_are_not_taken_for_each_other(
    flux: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path))
    flux.pipeline.tokenizer_2.model_max_length = 128
    prompts = ["x" * 80 + last for last in ("cat", "dog")]
    assert flux.token_ids([prompts[0]]) == flux.token_ids([prompts[1]])
    one, other = (generated_latents(flux, [prompt], [0], run=Run(), steps=1) for prompt in prompts)
    assert not torch.equal(one, other)


def test_an_edit_goes_onto_a_pipeline_whose_language_model_is_gone(flux: Model, tmp_path: Path) -> None:
    """It is no part of what shows which model it is; CLIP is."""
    from excise.methods import get

    method = get("uce")
    method.erase(flux, [flux.catalog.resolve("cat")], method.parse({}), Run()).save_pretrained(tmp_path)
    edit, pipeline = load_edit(tmp_path), tiny_models.flux()
    pipeline.text_encoder_2 = pipeline.tokenizer_2 = None
    before = pipeline.transformer.context_embedder.weight.clone()
    edit.apply(pipeline)
    assert not torch.equal(pipeline.transformer.context_embedder.weight, before)
    edit.remove(pipeline)
    assert torch.equal(pipeline.transformer.context_embedder.weight, before)
    pipeline.text_encoder = None
    with pytest.raises(ValueError, match="this pipeline has no text_encoder, so nothing shows which model it is"):
        edit.apply(pipeline)


def test_pictures_of_another_language_model_are_not_taken_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No edit changes T5, so it is not among the weights that tell a base; but it decides the pictures."""
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))
    made = []
    for name, louder in (("one", 1.0), ("other", 2.0)):
        pipeline = tiny_models.flux()
        with torch.no_grad():
            pipeline.text_encoder_2.shared.weight.mul_(louder)
        pipeline.save_pretrained(tmp_path / name)
        model = excise.load(tmp_path / name, device="cpu")
        made.append((base_fingerprint(model), generated_latents(model, ["a cat"], [0], run=Run(), steps=1)))
    assert made[0][0] == made[1][0] and not torch.equal(made[0][1], made[1][1])
