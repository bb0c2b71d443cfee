"""Stable Diffusion 3 and 3.5: pictures as diffusers makes them, with T5 and without, and how prompts lie in the rows of three encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file

import excise
import tiny_models
from excise.models import Model, Sampler


@pytest.fixture(scope="module")
def without_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "without-t5"
    tiny_models.sd3(with_t5=False).save_pretrained(folder)
    return folder


@pytest.fixture(params=["whole", "without T5"])
def either(request: pytest.FixtureRequest, tiny_sd3: Path, without_t5: Path) -> Model:
    return excise.load(tiny_sd3 if request.param == "whole" else without_t5, device="cpu")


def rows_of_t5(model: Model) -> int:
    """What its pipeline is told to get as many rows as the model has."""
    return model.encode([""]).tokens.shape[1] - 77


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 7.0])
def test_pictures_are_those_of_diffusers_to_the_bit(either: Model, scale: float) -> None:
    start = either.start_noise([3])
    expected = either.pipeline(
        "a cat", num_inference_steps=3, guidance_scale=scale, latents=start.clone(), output_type="latent", height=16, width=16,
        max_sequence_length=rows_of_t5(either),
    ).images  # fmt: skip
    assert torch.equal(either.latents(["a cat"], [3], steps=3, guidance_scale=scale), expected)


@pytest.mark.parametrize("shifting", [False, True], ids=["shift 3", "by the size"])
def test_decoded_pictures_and_other_sizes_are_those_of_diffusers(shifting: bool, tmp_path: Path) -> None:
    tiny_models.sd3(scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=shifting)).save_pretrained(
        tmp_path
    )
    model = excise.load(tmp_path, device="cpu")
    start = model.start_noise([3], size=(16, 24))
    expected = model.pipeline(
        "a cat", num_inference_steps=2, guidance_scale=7.0, latents=start.clone(), output_type="pt", height=16, width=24,
        max_sequence_length=64,
    ).images  # fmt: skip
    assert torch.equal(model.sample(["a cat"], [3], steps=2, guidance_scale=7.0, size=(16, 24)), expected)


def test_prompts_are_read_as_diffusers_reads_them(either: Model) -> None:
    for prompt in ("a cat", "", "A Cat! " * 20):
        tokens, _, pooled, _ = either.pipeline.encode_prompt(
            prompt, None, None, do_classifier_free_guidance=False, max_sequence_length=rows_of_t5(either)
        )
        told = either.encode(["something else", prompt])[1]
        assert torch.allclose(told.tokens, tokens, atol=1e-6) and told.pooled is not None
        assert torch.allclose(told.pooled, pooled, atol=1e-6)


def test_the_pipeline_asks_t5_for_256_rows_and_without_it_for_as_many_zeros(without_t5: Path) -> None:
    model = excise.load(without_t5, device="cpu")
    told = model.encode(["a cat"])
    assert told.tokens.shape == (1, 77 + 256, 64) and not told.tokens[:, 77:].any()
    rows = model.read(told, "tokens")
    assert torch.equal(rows, told.tokens[0, :77]), "zeros say nothing, and are not among the rows that closed forms weigh"


def test_a_prompt_lies_in_the_rows_of_clip_and_after_them_in_those_of_t5(sd3: Model) -> None:
    """Oracle: where a prompt has other rows than the same prompt with another last word, up to what its encoders see of it."""
    (clip, t5), (empty_clip, empty_t5) = sd3.segments(["a cat", ""])
    assert (clip.start, clip.first, clip.stop, len(clip.ids)) == (0, 1, 77, 4)
    assert (t5.start, t5.first, t5.stop, len(t5.ids)) == (77, 77, 77 + 64, 4)
    assert (empty_clip.ids, empty_t5.ids, empty_t5.last) == ((), (), 77)
    one, other = sd3.encode(["a cat", "a cab"])
    changed = (one.tokens - other.tokens).abs().amax(2)[0] > 1e-6
    assert int(changed.nonzero()[0]) == clip.last, "CLIP sees what is before a word alone"
    assert changed[t5.start : t5.stop].all(), "T5 sees the whole prompt from everywhere"
    ids = sd3.pipeline.tokenizer_3(["a cat"]).input_ids[0]
    assert t5.ids == tuple(ids[:-1])


def test_a_long_prompt_is_cut_where_t5_ends_or_clip_without_it(either: Model) -> None:
    long, t5 = " ".join("x" * 200), rows_of_t5(either) == 64
    kept = 63 if t5 else 75
    rest = either.left_out([long, "a cat"])
    assert either.room == kept and list(rest) == [long] and len(rest[long].split()) == 200 - kept
    short, longer, cut = (
        either.encode([" ".join("x" * count)]).tokens[:, 77 if t5 else 0 :] for count in (kept - 1, kept, 200)
    )
    assert torch.allclose(longer, cut, atol=1e-5) and not torch.allclose(short, cut, atol=1e-2)


def test_the_sampler_is_the_pipeline_s(sd3: Model) -> None:
    assert sd3.sampler == Sampler(28, 7.0, 16)


def test_attention_of_pictures_to_themselves_is_never_taken_for_text(sd3: Model) -> None:
    """SD 3.5 calls it `attn2`, as U-Nets call the attention that reads text."""
    own = {f"transformer.{name}" for name, _ in sd3.denoiser.named_parameters() if ".attn2." in name}
    assert len(own) >= 8
    for subspace in ("kv", "tokens", "attn2", "attn", "attn-kv", "text-kv", "text-qk"):
        assert not own & set(sd3.subspace(subspace)), subspace
    assert not sd3.subspace("attn2") and len(sd3.subspace("attn")) == 2 * (8 + 7), "the last block's text goes nowhere"
    assert own < set(sd3.subspace("full"))


def test_a_tokenizer_without_its_encoder_s_words_is_refused(tiny_sd3: Path, tmp_path: Path) -> None:
    pipeline = tiny_models.sd3()
    pipeline.tokenizer_3 = type(pipeline.tokenizer_3)(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)], extra_ids=0, model_max_length=64
    )
    pipeline.save_pretrained(tmp_path / "lost")
    with pytest.raises(ValueError, match=r"its tokenizer_3 knows no words; its folder lacks the vocabulary$"):
        excise.load(tmp_path / "lost", device="cpu")
    pipeline = tiny_models.sd3()
    pipeline.text_encoder_3 = tiny_models.t5(pipeline.tokenizer_3, 64)
    pipeline.text_encoder_3.config.vocab_size = 10
    with pytest.raises(ValueError, match=r"its tokenizer_3 \(\d+ tokens\) does not fit its text encoder \(10\)$"):
        type(excise.load(tiny_sd3, device="cpu")).check_words(pipeline, "it")
    pipeline.tokenizer_3 = None
    with pytest.raises(ValueError, match=r"its tokenizer_3 is missing, without which its text_encoder_3 reads no prompt$"):
        type(excise.load(tiny_sd3, device="cpu")).check_words(pipeline, "it")


def test_a_tied_tensor_lies_in_its_file_once_and_must_be_there(tmp_path: Path) -> None:
    """T5's words are two tensors in the network and one in its file."""
    tiny_models.save_sd3(tmp_path / "base")
    file = tmp_path / "base" / "text_encoder_3" / "model.safetensors"
    tensors = load_file(file)
    assert "shared.weight" in tensors and "encoder.embed_tokens.weight" not in tensors
    save_file({name: tensor for name, tensor in tensors.items() if name != "shared.weight"}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"text_encoder_3 lacks (shared|encoder\.embed_tokens)\.weight$"):
        excise.load(tmp_path / "base", device="cpu")
