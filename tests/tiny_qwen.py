"""Real but tiny pipelines whose prompts a language model reads: Z-Image, FLUX.2-klein, Qwen-Image. Built offline in a blink."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tiny_models import SIZE, autoencoder

CHAT = (
    "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'user' %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
"""What Qwen 3's chat template makes of one message of a user."""

KNOWN = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the objects and "
    "background: system user assistant a cat dog bird owl kitten puppy something picture of in style photo sketch pencil red big "
    "house tree"
)
"""Words that are one token, as they are with the real tokenizer: with a space before them and without."""
SPECIAL = ("<|im_start|>", "<|im_end|>")


@cache
def _trained() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-level tokenizer that knows these words."""
    learner = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated")
    learner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=4096, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False, min_frequency=1
    )
    words = KNOWN.replace(",", " ").replace(":", " ").split()
    learner.train_from_iterator([f"{word}\n {word}\n\n" for word in words], trainer)
    told = json.loads(learner.to_str())["model"]
    vocab, merges = told["vocab"], [tuple(merge) for merge in told["merges"]]
    for left, right in (("Ġ", "o"), ("Ġo", "x")):  # a word with a space alone: without one it is two tokens
        merges += [] if f"{left}{right}" in vocab else [(left, right)]
        vocab.setdefault(f"{left}{right}", len(vocab))
    return vocab, merges


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A byte-level tokenizer of Qwen's kind, with its chat template."""
    vocab, merges = _trained()
    words = Qwen2Tokenizer(dict(vocab), list(merges), model_max_length=131072, extra_special_tokens=list(SPECIAL))
    words.add_tokens(["<think>", "</think>"])
    words.chat_template = CHAT
    return words


def _language(words: Qwen2Tokenizer, layers: int, width: int) -> dict[str, Any]:
    """What the configs of tiny language models have in common."""
    return {
        "vocab_size": len(words) + 7, "hidden_size": width, "intermediate_size": 24, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": words.pad_token_id,
    }  # fmt: skip


def randomised(network: nn.Module) -> nn.Module:
    """A network in which nothing is left at a value that hides it, such as pad tokens of zeros, and norms of ones."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 or name.endswith("pad_token"):
                parameter += 0.2 * torch.randn_like(parameter)
            elif name.startswith(("context_embedder.", "txt_in.", "cap_embedder.")):
                parameter *= 3  # prompts count for more in a trained model
    return network.eval()


def _scheduler(**config: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, **config)


def z_image(scheduler: Any = None) -> ZImagePipeline:
    """A tiny Z-Image pipeline; without a scheduler Z-Image's own, not the Turbo's."""
    words = qwen_tokenizer()
    torch.manual_seed(1)
    encoder = Qwen3Model(Qwen3Config(**_language(words, 3, 48), head_dim=8))
    torch.manual_seed(2)
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=48, axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=scheduler or _scheduler(shift=6.0),
        vae=autoencoder(shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=randomised(encoder), tokenizer=words, transformer=randomised(transformer),
    )  # fmt: skip


def flux2_klein(distilled: bool = False) -> Flux2KleinPipeline:
    """A tiny FLUX.2-klein pipeline. Its language model has as many layers as are read."""
    words = qwen_tokenizer()
    torch.manual_seed(1)
    encoder = Qwen3ForCausalLM(Qwen3Config(**_language(words, 28, 8), head_dim=4, tie_word_embeddings=True))
    with torch.no_grad():
        encoder.get_input_embeddings().weight *= 50  # as large as in a trained model: no norm stands before the entrance
    torch.manual_seed(2)
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24,
        timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    torch.manual_seed(3)
    vae = AutoencoderKLFlux2(
        block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4, norm_num_groups=4, sample_size=SIZE,
    )  # fmt: skip
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    return Flux2KleinPipeline(
        scheduler=_scheduler(use_dynamic_shifting=True, time_shift_type="exponential"), vae=vae.eval(),
        text_encoder=randomised(encoder), tokenizer=words, transformer=randomised(transformer), is_distilled=distilled,
    )  # fmt: skip


def qwen_image() -> QwenImagePipeline:
    """A tiny Qwen-Image pipeline."""
    words = qwen_tokenizer()
    torch.manual_seed(1)
    places = {"rope_type": "default", "mrope_section": [4, 4, 4], "rope_theta": 1e6}
    text = _language(words, 2, 48) | {"rope_parameters": places}
    seeing = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 48}
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=seeing))
    torch.manual_seed(2)
    transformer = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=48,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    torch.manual_seed(3)
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False], latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.7, 1.1, 2.0],
    )  # fmt: skip
    return QwenImagePipeline(
        scheduler=_scheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=vae.eval(), text_encoder=randomised(encoder), tokenizer=words, transformer=randomised(transformer),
    )  # fmt: skip


def save(pipeline: Any, folder: Path) -> Path:
    """A pipeline's folder, that makes pictures of the tiny size in a few steps."""
    pipeline.save_pretrained(folder)
    about = {"name": f"tiny {folder.name}", "sampler": {"steps": 3, "size": SIZE}}
    (folder / "excise.json").write_text(json.dumps(about), encoding="utf-8")
    return folder
