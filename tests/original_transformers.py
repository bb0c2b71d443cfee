"""Tiny transformers in the layouts that their authors publish: the way back from diffusers' names, written for the tests.

Checked against huggingface/diffusers (loaders/single_file_utils.py), which knows the way there: what it makes of these is what they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from excise.models.original_layout import _vae_tensor

_MLP = {"timestep_embedder": "t_embedder", "text_embedder": "y_embedder"}
_IN = {"timestep_embedder": "time_in", "text_embedder": "vector_in", "guidance_embedder": "guidance_in"}
_QKV = {"q": 0, "k": 1, "v": 2}


def _attention(match: re.Match[str]) -> str:
    return f"#{_QKV[match[1]]}"


SD3 = (
    (r"^pos_embed\.pos_embed$", "pos_embed"),
    (r"^pos_embed\.proj", "x_embedder.proj"),
    (r"^time_text_embed\.(\w+)\.linear_([12])", lambda m: f"{_MLP[m[1]]}.mlp.{2 * int(m[2]) - 2}"),
    (r"^proj_out", "final_layer.linear"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^transformer_blocks", "joint_blocks"),
    (r"norm1\.linear", "x_block.adaLN_modulation.1"),
    (r"norm1_context\.linear", "context_block.adaLN_modulation.1"),
    (r"\.(attn2?)\.to_([qkv])", lambda m: f".x_block.{m[1]}.qkv#{_QKV[m[2]]}"),
    (r"\.attn\.add_([qkv])_proj", lambda m: f".context_block.attn.qkv#{_QKV[m[1]]}"),
    (r"\.(attn2?)\.norm_([qk])", r".x_block.\1.ln_\2"),
    (r"\.attn\.norm_added_([qk])", r".context_block.attn.ln_\1"),
    (r"\.(attn2?)\.to_out\.0", r".x_block.\1.proj"),
    (r"\.attn\.to_add_out", ".context_block.attn.proj"),
    (r"\.ff\.net\.(0\.proj|2)", lambda m: f".x_block.mlp.fc{1 if m[1] != '2' else 2}"),
    (r"\.ff_context\.net\.(0\.proj|2)", lambda m: f".context_block.mlp.fc{1 if m[1] != '2' else 2}"),
)
FLUX = (
    (r"^time_text_embed\.(\w+)\.linear_([12])", lambda m: f"{_IN[m[1]]}.{'in' if m[2] == '1' else 'out'}_layer"),
    (r"^context_embedder", "txt_in"),
    (r"^x_embedder", "img_in"),
    (r"^proj_out", "final_layer.linear"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^(single_transformer_blocks\.\d+)\.norm\.linear", r"\1.modulation.lin"),
    (r"^(single_transformer_blocks\.\d+)\.attn\.to_([qkv])", lambda m: f"{m[1]}.linear1#{_QKV[m[2]]}"),
    (r"^(single_transformer_blocks\.\d+)\.proj_mlp", r"\1.linear1#3"),
    (r"^(single_transformer_blocks\.\d+)\.attn\.norm_([qk])\.weight", r"\1.norm.\2_norm.scale"),
    (r"^(single_transformer_blocks\.\d+)\.proj_out", r"\1.linear2"),
    (r"^single_transformer_blocks", "single_blocks"),
    (r"^transformer_blocks", "double_blocks"),
    (r"\.norm1\.linear", ".img_mod.lin"),
    (r"\.norm1_context\.linear", ".txt_mod.lin"),
    (r"\.attn\.to_([qkv])", lambda m: f".img_attn.qkv#{_QKV[m[1]]}"),
    (r"\.attn\.add_([qkv])_proj", lambda m: f".txt_attn.qkv#{_QKV[m[1]]}"),
    (r"\.attn\.norm_([qk])\.weight", r".img_attn.norm.\1_norm.scale"),
    (r"\.attn\.norm_added_([qk])\.weight", r".txt_attn.norm.\1_norm.scale"),
    (r"\.attn\.to_out\.0", ".img_attn.proj"),
    (r"\.attn\.to_add_out", ".txt_attn.proj"),
    (r"\.ff\.net\.(0\.proj|2)", lambda m: f".img_mlp.{m[1][0]}"),
    (r"\.ff_context\.net\.(0\.proj|2)", lambda m: f".txt_mlp.{m[1][0]}"),
    (r"\.norm\.q_norm", ".norm.query_norm"),
    (r"\.norm\.k_norm", ".norm.key_norm"),
)
FLUX2 = (
    (r"^time_guidance_embed\.(\w+)\.linear_([12])", lambda m: f"{_IN[m[1]]}.{'in' if m[2] == '1' else 'out'}_layer"),
    (r"^((?:double|single)_stream_modulation\w*)\.linear", r"\1.lin"),
    (r"^(single_transformer_blocks\.\d+)\.attn\.to_qkv_mlp_proj", r"\1.linear1"),
    (r"^(single_transformer_blocks\.\d+)\.attn\.to_out", r"\1.linear2"),
    (r"\.ff\.linear_(in|out)", lambda m: f".img_mlp.{0 if m[1] == 'in' else 2}"),
    (r"\.ff_context\.linear_(in|out)", lambda m: f".txt_mlp.{0 if m[1] == 'in' else 2}"),
    *FLUX,
)
Z_IMAGE = (
    (r"^all_final_layer\.2-1\.", "final_layer."),
    (r"^all_x_embedder\.2-1\.", "x_embedder."),
    (r"\.attention\.to_([qkv])", lambda m: f".attention.qkv#{_QKV[m[1]]}"),
    (r"\.attention\.to_out\.0", ".attention.out"),
    (r"\.attention\.norm_([qk])", r".attention.\1_norm"),
)
LAYOUTS: Mapping[str, Any] = {
    "StableDiffusion3Pipeline": SD3, "FluxPipeline": FLUX, "Flux2KleinPipeline": FLUX2, "ZImagePipeline": Z_IMAGE,
    "QwenImagePipeline": (),
}  # fmt: skip
"""By pipeline: what replaces what in a name. "#2" is the third part of a tensor that is one in the original."""


def original(pipeline: Any) -> dict[str, Tensor]:
    """The tensors of a pipeline's transformer by their original names."""
    kind = type(pipeline).__name__
    whole: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    state = pipeline.transformer.state_dict()
    blocks = 1 + max((int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks.")), default=0)
    for key, tensor in state.items():
        name = key
        for pattern, to in LAYOUTS[kind]:
            name = re.sub(pattern, to, name)
        last = kind == "StableDiffusion3Pipeline" and name.startswith(f"joint_blocks.{blocks - 1}.context_block.adaLN")
        if kind not in ("ZImagePipeline", "QwenImagePipeline") and (name.startswith("final_layer.adaLN_modulation") or last):
            tensor = torch.cat(tensor.chunk(2)[::-1])  # shift, then scale
        if "#" in name:
            name = re.sub(r"#\d", "", full := name)
            parts.setdefault(name, {})[int(full.partition("#")[2][0])] = tensor
        else:
            whole[name] = tensor
    return whole | {name: torch.cat([some[index] for index in sorted(some)]) for name, some in parts.items()}


def save_transformer(pipeline: Any, path: Path, prefix: str = "") -> Path:
    """A file with the transformer alone."""
    save_file({f"{prefix}{name}": tensor.clone() for name, tensor in original(pipeline).items()}, path)
    return path


ENCODERS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"}


def save_whole(pipeline: Any, path: Path, encoders: Mapping[str, str] = ENCODERS) -> Path:
    """A file with everything, as those of Stable Diffusion 3 have it (incl_clips_t5xxl); CLIP-L's projection is left out."""
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in original(pipeline).items()}
    blocks = len(pipeline.vae.config.block_out_channels)
    tensors |= dict(_vae_tensor(key, tensor, blocks) for key, tensor in pipeline.vae.state_dict().items())
    for part, name in encoders.items():
        for key, tensor in getattr(pipeline, part).state_dict().items():
            key = key if name == "t5xxl" or key.startswith("text_") else f"text_model.{key}"
            if (name, key) != ("clip_l", "text_projection.weight") and key != "encoder.embed_tokens.weight":
                tensors[f"text_encoders.{name}.transformer.{key}"] = tensor
        tensors[f"text_encoders.{name}.logit_scale"] = torch.zeros(())
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    return path
