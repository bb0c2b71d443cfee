"""What a denoiser's tensors and layers are called in the original checkpoints of Stable Diffusion and FLUX.1 (no torch here)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

XL: dict[str, Any] = {"layers_per_block": 2, "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")}
"""The part of the U-Net's config in Stable Diffusion XL that decides the names."""

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


def unet_name(key: str, config: Mapping[str, Any]) -> str:
    """The name of a U-Net's tensor or layer in the original layout, by its name in diffusers and the network's config.

    >>> unet_name("add_embedding.linear_1.weight", {"layers_per_block": 2, "up_block_types": ()})
    'label_emb.0.0.weight'
    """
    for ours, theirs in _ENDS.items():
        if key == ours or key.startswith(ours + "."):
            return theirs + key.removeprefix(ours)
    if "resnets" in key:
        for ours, theirs in _RESNET.items():
            key = re.sub(rf"\.{ours}(?=\.|$)", f".{theirs}", key)
    step = config["layers_per_block"] + 1

    def place(match: re.Match[str]) -> str:
        way, i, part, j = match[1], int(match[2]), match[3], int(match[4])
        if part == "downsamplers":
            return f"input_blocks.{step * (i + 1)}.0.op"
        if part == "upsamplers":
            after = 2 if "Attn" in config["up_block_types"][i] else 1
            return f"output_blocks.{step * (i + 1) - 1}.{after}.conv"
        block = f"input_blocks.{step * i + j + 1}" if way == "down" else f"output_blocks.{step * i + j}"
        return f"{block}.{0 if part == 'resnets' else 1}"

    key = re.sub(r"^(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)", place, key)
    key = re.sub(r"^(down|up)_blocks\.(\d+)\.(downsamplers|upsamplers)\.(\d+)\.conv", place, key)
    key = re.sub(r"^mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}", key)
    return key.replace("mid_block.attentions.0", "middle_block.1")


FLUX: dict[str, str] = {
    r"context_embedder": "txt_in",
    r"x_embedder": "img_in",
    r"time_text_embed\.timestep_embedder\.linear_1": "time_in.in_layer",
    r"time_text_embed\.timestep_embedder\.linear_2": "time_in.out_layer",
    r"time_text_embed\.text_embedder\.linear_1": "vector_in.in_layer",
    r"time_text_embed\.text_embedder\.linear_2": "vector_in.out_layer",
    r"time_text_embed\.guidance_embedder\.linear_1": "guidance_in.in_layer",
    r"time_text_embed\.guidance_embedder\.linear_2": "guidance_in.out_layer",
    r"transformer_blocks\.(\d+)\.norm1\.linear": r"double_blocks.\1.img_mod.lin",
    r"transformer_blocks\.(\d+)\.norm1_context\.linear": r"double_blocks.\1.txt_mod.lin",
    r"transformer_blocks\.(\d+)\.attn\.to_out\.0": r"double_blocks.\1.img_attn.proj",
    r"transformer_blocks\.(\d+)\.attn\.to_add_out": r"double_blocks.\1.txt_attn.proj",
    r"transformer_blocks\.(\d+)\.ff\.net\.(0|2)(\.proj)?": r"double_blocks.\1.img_mlp.\2",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.(0|2)(\.proj)?": r"double_blocks.\1.txt_mlp.\2",
    r"single_transformer_blocks\.(\d+)\.norm\.linear": r"single_blocks.\1.modulation.lin",
    r"single_transformer_blocks\.(\d+)\.proj_out": r"single_blocks.\1.linear2",
}
SD3: dict[str, str] = {
    r"context_embedder": "context_embedder",
    r"time_text_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"time_text_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"time_text_embed\.text_embedder\.linear_1": "y_embedder.mlp.0",
    r"time_text_embed\.text_embedder\.linear_2": "y_embedder.mlp.2",
    r"transformer_blocks\.(\d+)\.norm1\.linear": r"joint_blocks.\1.x_block.adaLN_modulation.1",
    r"transformer_blocks\.(\d+)\.(attn2?)\.to_out\.0": r"joint_blocks.\1.x_block.\2.proj",
    r"transformer_blocks\.(\d+)\.attn\.to_add_out": r"joint_blocks.\1.context_block.attn.proj",
    r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj": r"joint_blocks.\1.x_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff\.net\.2": r"joint_blocks.\1.x_block.mlp.fc2",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj": r"joint_blocks.\1.context_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.2": r"joint_blocks.\1.context_block.mlp.fc2",
}
"""Layers of transformers that are one layer in the original too, as they are. Queries, keys and values are one layer together there, and
the last norms have their halves the other way round."""


def transformer_name(layer: str, names: Mapping[str, str]) -> str:
    """The name of a transformer's layer in the original layout. Raises LookupError for one that is a part of another layer there.

    >>> transformer_name("transformer_blocks.3.ff.net.0.proj", FLUX)
    'double_blocks.3.img_mlp.0'
    """
    for ours, theirs in names.items():
        if match := re.fullmatch(ours, layer):
            return match.expand(theirs)
    raise LookupError(layer)
