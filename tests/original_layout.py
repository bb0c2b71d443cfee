"""The inverse of diffusers' single-file conversion: a pipeline's tensors under the names of the original Stable Diffusion checkpoints.

Written for the tests from the layout of CompVis/stable-diffusion and Stability-AI/stablediffusion (4 U-Net blocks, 4 autoencoder blocks).
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def original_checkpoint(unet: Any, vae: Any, text_encoder: Any, second: bool) -> dict[str, Tensor]:
    """Everything that a checkpoint file holds; `second`: the text encoder as in 2.x (open_clip), else as in 1.x (transformers)."""
    layers, vae_layers = unet.config.layers_per_block, vae.config.layers_per_block
    tensors = {f"model.diffusion_model.{_unet_name(k, layers)}": t for k, t in unet.state_dict().items()}
    for key, tensor in vae.state_dict().items():
        name = _vae_name(key)
        wide = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)
        tensors[f"first_stage_model.{name}"] = tensor[:, :, None, None] if wide else tensor
    assert vae_layers > 0
    text = {k.removeprefix("text_model."): t for k, t in text_encoder.state_dict().items()}
    if second:
        return tensors | {f"cond_stage_model.model.{k}": t for k, t in _open_clip(text).items()}
    return tensors | {f"cond_stage_model.transformer.text_model.{k}": t for k, t in text.items()}


def _unet_name(key: str, layers: int) -> str:
    for ours, theirs in _ENDS.items():
        if key.startswith(ours + "."):
            return theirs + key.removeprefix(ours)
    if "resnets" in key:
        for ours, theirs in _RESNET.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
    step = layers + 1

    def place(match: re.Match[str]) -> str:
        way, i, part, j = match[1], int(match[2]), match[3], int(match[4])
        if part == "downsamplers":
            return f"input_blocks.{step * (i + 1)}.0.op."
        if part == "upsamplers":
            return f"output_blocks.{step * i + layers}.{1 if i == 0 else 2}.conv."
        block = f"input_blocks.{step * i + j + 1}" if way == "down" else f"output_blocks.{step * i + j}"
        return f"{block}.{0 if part == 'resnets' else 1}."

    key = re.sub(r"^(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(conv\.(?=\w+$))?", place, key)
    key = re.sub(r"^mid_block\.resnets\.(\d)\.", lambda m: f"middle_block.{2 * int(m[1])}.", key)
    return key.replace("mid_block.attentions.0.", "middle_block.1.")


def _vae_name(key: str) -> str:
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda m: f"decoder.up.{3 - int(m[1])}.upsample", key)
    if "attn_1" in key:
        for ours, theirs in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def _open_clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names; query, key and value are one tensor there."""
    found = {
        "token_embedding.weight": text["embeddings.token_embedding.weight"],
        "positional_embedding": text["embeddings.position_embedding.weight"],
        "ln_final.weight": text["final_layer_norm.weight"],
        "ln_final.bias": text["final_layer_norm.bias"],
    }
    names = {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }  # fmt: skip
    for key, tensor in text.items():
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if match and match[2] in names:
            found[f"transformer.resblocks.{match[1]}.{names[match[2]]}.{match[3]}"] = tensor
        elif match and match[2] == "self_attn.q_proj":
            three = [text[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            found[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"] = torch.cat(three)
    return found
