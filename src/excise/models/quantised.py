"""Quantised weights are recognised by what their files say of themselves, and refused before one is read. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from excise.files import Declared, read_json

CONFIGS = ("quantization_config", "compression_config")
"""What says in a config.json that the weights are quantised (diffusers, transformers; compressed-tensors)."""

EIGHT_BIT = re.compile(r"F8_|F4|F6_|MXFP")
"""Dtypes of a safetensors header that are floats of eight bits or fewer."""

BESIDE = re.compile(
    r"\.(absmax|nested_absmax|quant_map|nested_quant_map|quant_state\.[\w+]+|SCB|weight_format"  # bitsandbytes
    r"|_data|_scale|_qdata|qdata"  # quanto; torchao
    r"|scale_weight|scale_input|weight_scale|weight_scale_2|input_scale|comfy_quant"  # ComfyUI's scaled floats
    r"|qweight|qzeros|g_idx|wscales|wtscale|smooth_factor|weight_packed)$"  # GPTQ, AWQ; nunchaku; compressed-tensors
    r"|^scaled_fp8$"
)
"""Names of the tensors that quantisers put beside a weight, or in its place."""


def check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Raise ValueError for the config of a network, or of a model, whose weights are quantised."""
    told = next((config[key] for key in CONFIGS if config.get(key)), None)
    if told is not None:
        how = told.get("quant_method") or told.get("quant_backend") if isinstance(told, Mapping) else None
        raise _refusal(path, str(how)[:40] if how else "its config says so")


def check_folder(folder: Path) -> None:
    """Raise ValueError for a diffusers folder of which a part is quantised."""
    for path in sorted(folder.glob("*/config.json")):
        config = read_json(path)
        if isinstance(config, dict):
            check_config(path, config)


def check_names(path: Path, declared: Mapping[str, Declared]) -> None:
    """Raise ValueError for a safetensors file of quantised weights, by its header."""
    for name, each in declared.items():
        if BESIDE.search(name):
            raise _refusal(path, f"it holds {name[-100:]}")
        if EIGHT_BIT.match(each.dtype):
            raise _refusal(path, f"{name[-100:]} is {each.dtype}")


def check_ending(path: Path) -> None:
    """Raise ValueError for a .gguf file."""
    if path.suffix.lower() == ".gguf":
        raise _refusal(path, "GGUF")


def _refusal(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} is quantised ({why}), and an edit changes the weights themselves; erase the unquantised model, and load the edit as a "
        "LoRA (excise export) on this one"
    )
