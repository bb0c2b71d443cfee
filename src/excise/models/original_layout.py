"""The names that a pipeline's tensors have in the original checkpoints of Stable Diffusion 1.x, 2.x and XL: one file for all networks.

The layouts are those of CompVis/stable-diffusion, Stability-AI/stablediffusion and Stability-AI/generative-models. Reading such a file is
left to diffusers (`single_file`); this is the way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from excise.models.checkpoint_file import VELOCITY, ZERO_SNR
from excise.models.original_names import unet_name
from excise.models.transformer_layouts import DENOISER

_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def original_checkpoint(pipeline: Any) -> dict[str, Tensor]:
    """Everything that a checkpoint file of a pipeline holds, by its names there; tensors are shared with the pipeline where they can be.

    Of a network that predicts velocity it has the empty tensors that say so (`checkpoint_file.VELOCITY`, `ZERO_SNR`).
    """
    config, vae = pipeline.unet.config, pipeline.vae
    tensors = {f"{DENOISER}{unet_name(key, config)}": tensor for key, tensor in pipeline.unet.state_dict().items()}
    schedule = pipeline.scheduler.config
    if schedule.prediction_type == "v_prediction":
        zero = getattr(schedule, "rescale_betas_zero_snr", False)
        tensors |= {marker: torch.zeros(0) for marker in (VELOCITY, *([ZERO_SNR] if zero else []))}
    tensors |= dict(_vae_tensor(key, tensor, len(vae.config.block_out_channels)) for key, tensor in vae.state_dict().items())
    other = getattr(pipeline, "text_encoder_2", None)
    if other is not None:
        tensors |= {f"conditioner.embedders.0.transformer.text_model.{k}": t for k, t in _text(pipeline.text_encoder).items()}
        return tensors | {f"conditioner.embedders.1.model.{k}": t for k, t in _open_clip(_text(other)).items()}
    if config.use_linear_projection:  # 2.x
        return tensors | {f"cond_stage_model.model.{k}": t for k, t in _open_clip(_text(pipeline.text_encoder)).items()}
    return tensors | {f"cond_stage_model.transformer.text_model.{k}": t for k, t in _text(pipeline.text_encoder).items()}


def _vae_tensor(key: str, tensor: Tensor, blocks: int) -> tuple[str, Tensor]:
    """The original name of an autoencoder's tensor, and the tensor: attention's matrices are convolutions there."""
    name = _vae_name(key, blocks)
    wide = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)
    return f"first_stage_model.{name}", tensor[:, :, None, None] if wide else tensor


def _vae_name(key: str, blocks: int) -> str:
    def up(match: re.Match[str]) -> str:
        return f"decoder.up.{blocks - 1 - int(match[1])}."

    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.resnets\.(?=\d)", lambda m: up(m) + "block.", key)
    key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda m: up(m) + "upsample", key)
    if "attn_1" in key:
        for ours, theirs in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def _text(encoder: Any) -> dict[str, Tensor]:
    """A text encoder's tensors, without the prefix that some transformers versions put before them."""
    return {key.removeprefix("text_model."): tensor for key, tensor in encoder.state_dict().items()}


def _open_clip(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's tensors under open_clip's names; query, key and value are one tensor there, and the projection is transposed."""
    found = {theirs: text[ours] for ours, theirs in _OPEN_CLIP.items()}
    if "text_projection.weight" in text:
        found["text_projection"] = text["text_projection.weight"].T
    for key, tensor in text.items():
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if match and match[2] in _OPEN_CLIP_LAYER:
            found[f"transformer.resblocks.{match[1]}.{_OPEN_CLIP_LAYER[match[2]]}.{match[3]}"] = tensor
        elif match and match[2] == "self_attn.q_proj":
            three = [text[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            found[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"] = torch.cat(three)
    return found
