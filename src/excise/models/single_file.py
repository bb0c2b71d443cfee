"""Single `.safetensors` checkpoints of Stable Diffusion 1.x and 2.x: all weights in one file, configs and tokenizer from this package."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from excise.models.clip import END, clip_tokenizer

log = logging.getLogger(__name__)

PREDICTIONS = ("epsilon", "v_prediction")
_PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
_CONFIGS = Path(__file__).parent / "configs"
_DENOISER = "model.diffusion_model."
_WIDTH_KEY = f"{_DENOISER}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"

GENERATIONS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}
"""What has text embeddings of which width."""


def generation(path: Path) -> str:
    """What a checkpoint file holds. Raises ValueError for a pickle, or a file that is no whole checkpoint of these models."""
    width, _ = _inspect(path)
    return GENERATIONS.get(width, f"Stable Diffusion with text of width {width}")


def load_checkpoint(
    path: Path, dtype: torch.dtype, config_from: str | Path | None = None, prediction: str | None = None
) -> Any:
    """A StableDiffusionPipeline from one checkpoint file, without the network.

    config_from diffusers folder whose configs and tokenizer to use; default the shipped ones of SD 1.x or 2.x, chosen by the text width
    prediction  "epsilon" or "v_prediction"; default: the prediction type of `config_from`; else what the file's metadata says
                (`modelspec.prediction_type`); else epsilon for 1.x, and for 2.x, which exists in both, what `measured_prediction` finds

    Raises ValueError for a pickle, a file that is no whole checkpoint of these models, one whose denoiser has more tensors than theirs
    (the rest would be another model than the file's), or an unknown prediction.
    """
    if prediction not in (None, *PREDICTIONS):
        raise ValueError(f"unknown prediction {prediction!r}; known: {', '.join(PREDICTIONS)}")
    width, metadata = _inspect(path)
    if config_from is not None:
        pipeline = _read(path, Path(config_from), dtype)
        return _set_prediction(pipeline, prediction) if prediction else pipeline
    if width not in GENERATIONS:
        raise ValueError(
            f"{path} takes text of width {width}, which is neither Stable Diffusion 1.x (768) nor 2.x (1024); "
            "give config_from, a diffusers folder that describes it"
        )
    two = width == 1024
    tokenizer = clip_tokenizer(pad_token="!" if two else END)
    pipeline = _read(path, _CONFIGS / ("sd2" if two else "sd1"), dtype, tokenizer=tokenizer)
    if prediction is None:
        prediction = {"epsilon": "epsilon", "v": "v_prediction"}.get(metadata.get("modelspec.prediction_type", ""))
    if prediction is None and two:
        prediction = measured_prediction(pipeline.unet)
        log.info("%s: the network was asked and predicts %s", path, prediction)
    if two and prediction == "v_prediction":
        pipeline.unet.register_to_config(sample_size=96)  # the 2.x models that predict velocity were made for 768 pixels
    return _set_prediction(pipeline, prediction or "epsilon")


@torch.no_grad()
def measured_prediction(unet: Any) -> str:
    """What a trained denoiser predicts, found by asking it once.

    At the last timestep its input z is all but pure noise, so a noise prediction returns z: its slope on z is nearly 1. A velocity is
    alpha e - sigma x, and alpha is 0.07 there: its slope is nearly 0.
    """
    config = unet.config
    shape = (1, config.in_channels, 16, 16)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(unet.device, unet.dtype)
    text = torch.zeros(1, 77, config.cross_attention_dim, device=unet.device, dtype=unet.dtype)
    output = unet(z, torch.tensor([999], device=unet.device), encoder_hidden_states=text).sample
    slope = (output.double() * z.double()).sum() / z.double().square().sum()
    return "epsilon" if slope > 0.5 else "v_prediction"


def _read(path: Path, config: Path, dtype: torch.dtype, **parts: Any) -> Any:
    from diffusers import StableDiffusionPipeline

    if not (config / "model_index.json").is_file():
        raise ValueError(f"{config} does not describe a model: it has no model_index.json")
    try:
        pipeline = StableDiffusionPipeline.from_single_file(
            str(path), config=str(config), dtype=dtype, safety_checker=None, local_files_only=True, **parts
        )
    except (RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} does not fit the networks that {config} describes: {line}") from None
    with safe_open(str(path), "pt") as file:
        more = sum(name.startswith(_DENOISER) for name in file.keys()) - len(pipeline.unet.state_dict())
    if more > 0:
        raise ValueError(f"{path} holds {more} tensors of a denoiser that the network which {config} describes does not have")
    return pipeline


def _set_prediction(pipeline: Any, prediction: str) -> Any:
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, prediction_type=prediction)
    return pipeline


def _inspect(path: Path) -> tuple[int, dict[str, str]]:
    """Width of the text embeddings, and metadata. Raises ValueError if it is no whole SD 1.x/2.x checkpoint."""
    if path.suffix in _PICKLES:
        raise ValueError(f"{path} is a pickle file and pickles are never loaded; convert it to .safetensors first")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    try:
        with safe_open(str(path), "pt") as file:
            if _WIDTH_KEY not in file.keys():
                raise ValueError(f"{path} is no Stable Diffusion 1.x or 2.x checkpoint: it has no {_WIDTH_KEY}")
            return int(file.get_slice(_WIDTH_KEY).get_shape()[1]), dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from None
