"""Real but tiny pipelines, built offline in a blink: one of every family, and a canvas with a catalog and a judge."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from excise.evaluation.classifier import Classifier

SIZE = 16
"""Edge of a tiny picture in pixels; latents are 8 x 8."""

CANVAS: dict[str, Any] = {
    "name": "tiny canvas",
    "concepts": [
        {"kind": "object", "name": "cat", "phrases": ["a cat", "cat", "cats", "a kitty", "a tabby", "a kitten"]},
        {"kind": "member", "name": "tabby", "object": "cat", "phrases": ["a tabby", "tabby"]},
        {"kind": "member", "name": "kitten", "object": "cat", "phrases": ["a kitten", "kitten"]},
        {"kind": "object", "name": "dog", "phrases": ["a dog", "dog", "dogs", "a puppy", "a hound"]},
        {"kind": "member", "name": "puppy", "object": "dog", "phrases": ["a puppy", "puppy"]},
        {"kind": "member", "name": "hound", "object": "dog", "phrases": ["a hound", "hound"]},
        {"kind": "object", "name": "bird", "phrases": ["a bird", "bird", "birds", "an owl"]},
        {"kind": "member", "name": "owl", "object": "bird", "phrases": ["an owl", "owl"]},
        {"kind": "style", "name": "photo", "phrases": ["photo", "photograph"]},
        {"kind": "style", "name": "sketch", "phrases": ["sketch", "pencil"]},
        {"kind": "style", "name": "pixel art", "phrases": ["pixel art"]},
    ],
    "templates": [
        "a picture[ of {object}][ in {style} style]",
        "{object|something}[ in the style of {style}]",
        "[{object}][, {style}]",
        "[{style} style: ]{object|something}",
    ],
    "held_out_templates": ["we can see {object|something}[, in {style} style]"],
    "sampler": {"steps": 4, "guidance_scale": 4.0, "size": SIZE},
    "classifier": "classifier.safetensors",
}
"""The `excise.json` of the tiny canvas."""

HEADS = {
    "object": ["cat", "dog", "bird", "other"],
    "member": ["tabby", "kitten", "puppy", "hound", "owl", "lamp"],
    "style": ["photo", "sketch", "pixel art"],
}


def tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: one token per character."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def clip(kind: Any, words: CLIPTokenizer, width: int, seed: int = 0) -> Any:
    """A CLIP text encoder with random weights, always the same ones."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
        max_position_embeddings=77, projection_dim=width, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    return kind(config).eval()


def autoencoder(channels: int = 4, **config: Any) -> AutoencoderKL:
    """An autoencoder with random weights, always the same ones."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=channels, norm_num_groups=4, sample_size=SIZE, **config,
    ).eval()  # fmt: skip


def pipeline(
    width: int = 32, prediction: str = "epsilon", linear: bool = False, scheduler: Any = None
) -> StableDiffusionPipeline:
    """A tiny Stable Diffusion pipeline with random weights, always the same ones."""
    words = tokenizer()
    text_encoder = clip(CLIPTextModel, words, width)
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, attention_head_dim=2, use_linear_projection=linear,
    )  # fmt: skip
    with torch.no_grad():  # random text weights hardly matter; make prompts count as they do in a trained model
        for name, weight in unet.named_parameters():
            if name.endswith(("attn2.to_v.weight", "attn2.to_out.0.weight")):
                weight *= 3
    scheduler = scheduler or DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type=prediction,
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=text_encoder, tokenizer=words, unet=unet.eval(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl(scheduler: Any = None) -> StableDiffusionXLPipeline:
    """A tiny Stable Diffusion XL pipeline: two text encoders of different widths, pooled text."""
    words, other = tokenizer(), tokenizer()
    other.pad_token = "!"
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32 + 24, attention_head_dim=2, use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8,
    )  # fmt: skip
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if name.endswith(("attn2.to_v.weight", "attn2.to_out.0.weight")):
                weight *= 3
    scheduler = scheduler or EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    )
    return StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=clip(CLIPTextModel, words, 32), tokenizer=words,
        text_encoder_2=clip(CLIPTextModelWithProjection, other, 24, seed=4), tokenizer_2=other, unet=unet.eval(),
        scheduler=scheduler, add_watermarker=False,
    )  # fmt: skip


def t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer of one token per character, with which a word's first letter begins it; prompts of up to 63."""
    pieces = [(piece, -2.0 - number / 100) for number, piece in enumerate(("\u2581", *string.printable[:94]))]
    pieces += [(f"\u2581{letter}", -2.0) for letter in string.ascii_letters]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces], extra_ids=0, model_max_length=64)


def t5(words: T5Tokenizer, width: int) -> T5EncoderModel:
    """A T5 encoder with random weights, always the same ones."""
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=len(words), d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return T5EncoderModel(config).eval()


def telling(transformer: Any) -> Any:
    """The transformer with words that count as they do in a trained model: of random weights little would be seen."""
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if name in ("context_embedder.weight", "time_text_embed.text_embedder.linear_1.weight"):
                weight *= 5
    return transformer.eval()


def sd3(with_t5: bool = True, dual: tuple[int, ...] = (0,), scheduler: Any = None) -> StableDiffusion3Pipeline:
    """A tiny Stable Diffusion 3.5 pipeline: two CLIPs and T5, a block whose pictures also attend to themselves (`attn2`)."""
    words, other, third = tokenizer(), tokenizer(), t5_tokenizer()
    other.pad_token = "!"
    torch.manual_seed(1)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=64, pooled_projection_dim=32 + 24, pos_embed_max_size=12,
        dual_attention_layers=dual, qk_norm="rms_norm",
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        vae=autoencoder(use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip(CLIPTextModelWithProjection, words, 32), tokenizer=words,
        text_encoder_2=clip(CLIPTextModelWithProjection, other, 24, seed=4), tokenizer_2=other,
        text_encoder_3=t5(third, 64) if with_t5 else None, tokenizer_3=third if with_t5 else None,
        transformer=telling(transformer), scheduler=scheduler or FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def flux(dev: bool = True, scheduler: Any = None) -> FluxPipeline:
    """A tiny FLUX.1 dev or schnell pipeline: CLIP's pooled row and T5's tokens, a block of two streams and one of one."""
    words, third = tokenizer(), t5_tokenizer()
    torch.manual_seed(1)
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        pooled_projection_dim=24, axes_dims_rope=(4, 4, 8), guidance_embeds=dev,
    )  # fmt: skip
    scheduler = scheduler or FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev)
    return FluxPipeline(
        vae=autoencoder(use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip(CLIPTextModel, words, 24), tokenizer=words, text_encoder_2=t5(third, 32), tokenizer_2=third,
        transformer=telling(transformer), scheduler=scheduler,
    )  # fmt: skip


def save_sd3(folder: Path) -> Path:
    """Stable Diffusion 3.5."""
    sd3().save_pretrained(folder)
    return folder


def save_flux(folder: Path) -> Path:
    """FLUX.1 dev."""
    flux().save_pretrained(folder)
    return folder


def save_sdxl(folder: Path) -> Path:
    """Stable Diffusion XL."""
    sdxl().save_pretrained(folder)
    return folder


def save_sd1(folder: Path) -> Path:
    """Stable Diffusion 1.x: predicts noise."""
    pipeline().save_pretrained(folder)
    return folder


def save_sd2(folder: Path) -> Path:
    """Stable Diffusion 2.x: predicts velocity, wider text, linear projections."""
    pipeline(width=64, prediction="v_prediction", linear=True).save_pretrained(folder)
    return folder


def save_canvas(folder: Path) -> Path:
    """A model with a closed catalog, a sampler and a (random) judge: schedule with zero terminal SNR, as the canvas has."""
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True,
        rescale_betas_zero_snr=True, timestep_spacing="trailing", steps_offset=1,
    )  # fmt: skip
    pipeline(scheduler=scheduler).save_pretrained(folder)
    return declare(folder)


def declare(folder: Path) -> Path:
    """Put the canvas's catalog, sampler and judge into a model's folder."""
    torch.manual_seed(3)
    Classifier(HEADS, SIZE).save(folder / "classifier.safetensors")
    (folder / "excise.json").write_text(json.dumps(CANVAS, indent=2), encoding="utf-8")
    return folder
