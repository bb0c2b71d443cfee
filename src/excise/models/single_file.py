"""Single `.safetensors` checkpoints of Stable Diffusion 1.x and 2.x: all weights in one file, configs and tokenizer from this package."""

from __future__ import annotations

import logging
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from excise.models.clip import END, clip_tokenizer
from excise.randomness import seeded

log = logging.getLogger(__name__)

PREDICTIONS = ("epsilon", "v_prediction")
_PICKLES = {".ckpt", ".bin", ".pt", ".pth", ".pkl"}
_CONFIGS = Path(__file__).parent / "configs"
_DENOISER = "model.diffusion_model."
_WIDTH_KEY = f"{_DENOISER}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"

VELOCITY, ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors that trainers put beside the weights (kohya-ss/sd-scripts, comfyanonymous/ComfyUI: comfy/supported_models.py): the network
predicts velocity; it was trained on a schedule whose last step has no signal left."""

GENERATIONS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}
"""What has text embeddings of which width."""


def generation(path: Path) -> str:
    """What a checkpoint file holds. Raises ValueError for a pickle, or a file that is no whole checkpoint of these models."""
    width, _, _ = _inspect(path)
    return GENERATIONS.get(width, f"Stable Diffusion with text of width {width}")


def load_checkpoint(
    path: Path, dtype: torch.dtype, config_from: str | Path | None = None, prediction: str | None = None
) -> Any:
    """A StableDiffusionPipeline from one checkpoint file, without the network.

    config_from diffusers folder whose configs and tokenizer to use; default the shipped ones of SD 1.x or 2.x, chosen by the text width
    prediction  "epsilon" or "v_prediction"; default: "v_prediction" if the file has the marker `VELOCITY`; else the prediction type of
                `config_from`; else what the file's metadata says (`modelspec.prediction_type`); else epsilon for 1.x, and for 2.x, which
                exists in both, what `measured_prediction` finds

    A network that predicts velocity and has the marker `ZERO_SNR` gets the schedule that it was trained on.
    Raises ValueError for a pickle, a file that is no whole checkpoint of these models, one whose denoiser has more tensors than theirs
    (the rest would be another model than the file's), or an unknown prediction.
    """
    if prediction not in (None, *PREDICTIONS):
        raise ValueError(f"unknown prediction {prediction!r}; known: {', '.join(PREDICTIONS)}")
    width, metadata, markers = _inspect(path)
    if prediction is None and VELOCITY in markers:
        prediction = "v_prediction"
    if config_from is not None:
        return _scheduled(_read(path, Path(config_from), dtype), prediction, zero_snr=ZERO_SNR in markers)
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
    return _scheduled(pipeline, prediction or "epsilon", zero_snr=ZERO_SNR in markers)


@torch.no_grad()
def measured_prediction(unet: Any) -> str:
    """What a trained denoiser predicts, found by asking it once.

    At the last timestep its input z is all but pure noise, so a noise prediction returns z: its slope on z is nearly 1. A velocity is
    alpha e - sigma x, and alpha is 0.07 there: its slope is nearly 0.
    """
    config = unet.config
    shape = (1, config.in_channels, 16, 16)
    z = torch.randn(shape, generator=seeded(0)).to(unet.device, unet.dtype)
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


def _scheduled(pipeline: Any, prediction: str | None, *, zero_snr: bool) -> Any:
    """The pipeline with a schedule for what its network predicts, by default what its own schedule says.

    zero_snr  of velocity: no signal at the last step, and sampling begins there (arXiv 2305.08891). From noise alone a prediction of the
              noise says nothing. A scheduler that does not know it (PNDM) gives way to DDIM
    """
    from diffusers import DDIMScheduler

    kind, config = type(pipeline.scheduler), pipeline.scheduler.config
    prediction = prediction or config.prediction_type
    options: dict[str, Any] = {"prediction_type": prediction}
    if zero_snr and prediction == "v_prediction":
        options |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        if "rescale_betas_zero_snr" not in signature(kind.__init__).parameters:
            kind = DDIMScheduler
            options["clip_sample"] = False
    pipeline.scheduler = kind.from_config(config, **options)
    return pipeline


def _inspect(path: Path) -> tuple[int, dict[str, str], set[str]]:
    """Width of the text embeddings, metadata, and markers. Raises ValueError if it is no whole SD 1.x/2.x checkpoint."""
    if path.suffix in _PICKLES:
        raise ValueError(f"{path} is a pickle file and pickles are never loaded; convert it to .safetensors first")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors checkpoint")
    try:
        with safe_open(str(path), "pt") as file:
            if _WIDTH_KEY not in file.keys():
                raise ValueError(f"{path} is no Stable Diffusion 1.x or 2.x checkpoint: it has no {_WIDTH_KEY}")
            width = int(file.get_slice(_WIDTH_KEY).get_shape()[1])
            return width, dict(file.metadata() or {}), {VELOCITY, ZERO_SNR} & set(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from None
