"""`load`: a model by name, folder, single checkpoint file or hub id — from safetensors only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from excise.models.model import Model, Sampler
from excise.models.names import describe, resolve

_PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
_CONFIGS = Path(__file__).parent / "configs"


def load(model: str | Path = "canvas", *, device: str | None = None, dtype: str | torch.dtype = "float32") -> Model:
    """Load a model.

    model   "canvas" (built in), a diffusers folder, a single .safetensors checkpoint of SD 1.x or 2.x, or a hub id
    device  "cpu", "cuda", "mps", ...; default the first of cuda, mps, cpu that is there
    dtype   "float32", "float16" or "bfloat16"

    Raises FileNotFoundError if it is not there, ValueError for a pickle, an unsupported kind of model, an unknown dtype or weights that are
    not finite, OSError if the hub cannot be reached.
    """
    where = resolve(model)
    dtype = parse_dtype(dtype)
    if isinstance(where, Path) and where.is_file():
        pipeline = _from_file(where, dtype)
    else:
        pipeline = _from_folder(where, dtype)
    pipeline.set_progress_bar_config(disable=True)
    _check_finite(pipeline, model)
    description = describe(where)
    sampler = Sampler(**description.sampler) if description.sampler else None
    folder = where if isinstance(where, Path) and where.is_dir() else None
    return Model(
        pipeline.to(pick_device(device)),
        name=description.name,
        catalog=description.catalog,
        sampler=sampler,
        folder=folder,
        classifier=description.classifier,
    )


def pick_device(device: str | None) -> torch.device:
    """The device asked for, or the first of cuda, mps, cpu. Raises ValueError for one that torch does not know or have."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {device!r} here: {str(error).splitlines()[0]}") from None
    return picked


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A floating dtype by name. Raises ValueError for any other than float32, float16, bfloat16."""
    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype in names.values():
        return dtype  # type: ignore[return-value]
    if dtype not in names:
        raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(names)}")
    return names[str(dtype)]


def _from_folder(where: Path | str, dtype: torch.dtype) -> Any:
    from diffusers import StableDiffusionPipeline

    if isinstance(where, Path):
        index = where / "model_index.json"
        if not index.is_file():
            raise ValueError(f"{where} is not a model folder: it has no model_index.json")
        kind = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
        if kind != "StableDiffusionPipeline":
            raise ValueError(f"{where} holds a {kind}; supported: StableDiffusionPipeline (SD 1.x and 2.x)")
        for part in ("unet", "vae", "text_encoder"):
            if not list((where / part).glob("*.safetensors")):
                raise ValueError(
                    f"{where / part} has no .safetensors weights; pickle files are never loaded: convert them first"
                )
    try:
        return StableDiffusionPipeline.from_pretrained(
            where, dtype=dtype, use_safetensors=True, safety_checker=None, requires_safety_checker=False
        )
    except (RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{where} could not be read as a Stable Diffusion model: {str(error).splitlines()[0]}") from None
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise ValueError(f"{where}: a weight file is damaged ({error})") from None
        raise


def _from_file(path: Path, dtype: torch.dtype) -> Any:
    from diffusers import StableDiffusionPipeline

    if path.suffix in _PICKLES:
        raise ValueError(f"{path} is a pickle file and pickles are never loaded; convert it to .safetensors first")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    width = _context_width(path)
    config = _CONFIGS / {768: "sd1", 1024: "sd2"}[width]
    return StableDiffusionPipeline.from_single_file(
        str(path), config=str(config), dtype=dtype, safety_checker=None, local_files_only=True
    )


def _context_width(path: Path) -> int:
    """Width of the text embeddings that a single-file checkpoint was made for. Raises ValueError if it is no SD 1.x/2.x one."""
    from safetensors import SafetensorError, safe_open

    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    try:
        with safe_open(str(path), "pt") as file:
            if key not in file.keys():
                raise ValueError(f"{path} is no Stable Diffusion 1.x or 2.x checkpoint: it has no {key}")
            return int(file.get_slice(key).get_shape()[1])
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from None


def _check_finite(pipeline: Any, model: str | Path) -> None:
    for part in ("unet", "text_encoder", "vae"):
        for name, tensor in getattr(pipeline, part).state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"{model}: {part}.{name} has values that are not finite (NaN or infinity)")
