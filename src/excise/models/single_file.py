"""Single `.safetensors` checkpoints of Stable Diffusion 1.x, 2.x and XL: all weights in one file, configs and tokenizer from this package."""

from __future__ import annotations

import logging
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from excise.files import read_header, reading
from excise.models.checkpoint_file import LAYOUTS, VELOCITY, ZERO_SNR, Contents, contents
from excise.models.clip import END, clip_tokenizer
from excise.models.families import family_of
from excise.models.names import model_index
from excise.models.parts import load_scheduler, made, network_config
from excise.models.transformer_layouts import DENOISER
from excise.randomness import seeded

log = logging.getLogger(__name__)

PREDICTIONS = ("epsilon", "v_prediction")
_CONFIGS = Path(__file__).parent / "configs"


def load_checkpoint(
    path: Path, dtype: torch.dtype, config_from: str | Path | None = None, prediction: str | None = None
) -> Any:
    """A diffusers pipeline from one checkpoint file, without the network.

    config_from diffusers folder whose configs and tokenizers to use; default the shipped ones of SD 1.x, 2.x or XL
    prediction  "epsilon" or "v_prediction"; default: "v_prediction" if the file has the marker `VELOCITY`; else the prediction type of
                `config_from`; else what the file's metadata says (`modelspec.prediction_type`); else epsilon for 1.x and XL, and for 2.x,
                which exists in both, what `measured_prediction` finds

    A network that predicts velocity and has the marker `ZERO_SNR` gets the schedule that it was trained on.
    Raises ValueError for a pickle, a file that is no whole checkpoint of these models, one whose denoiser has more tensors than theirs
    (the rest would be another model than the file's), or an unknown prediction.
    """
    if prediction not in (None, *PREDICTIONS):
        raise ValueError(f"unknown prediction {prediction!r}; known: {', '.join(PREDICTIONS)}")
    found = contents(path)
    if prediction is None and VELOCITY in found.markers:
        prediction = "v_prediction"
    if config_from is not None:
        pipeline = _read(path, found, Path(config_from), dtype)
        return _scheduled(pipeline, prediction, zero_snr=ZERO_SNR in found.markers)
    if found.layout is None:
        known = ", ".join(f"{layout.name} ({layout.width})" for layout in LAYOUTS)
        raise ValueError(
            f"{path} takes text of width {found.width}, which none of {known} does; give config_from, a diffusers folder that describes it"
        )
    pipeline = _read(path, found, _CONFIGS / found.layout.configs, dtype, **tokenizers(found.layout.configs))
    if prediction is None:
        prediction = {"epsilon": "epsilon", "v": "v_prediction"}.get(found.metadata.get("modelspec.prediction_type", ""))
    two = found.layout.configs == "sd2"
    if prediction is None and two:
        prediction = measured_prediction(pipeline.unet)
        log.info("%s: the network was asked and predicts %s", path, prediction)
    if two and prediction == "v_prediction":
        pipeline.unet.register_to_config(sample_size=96)  # the 2.x models that predict velocity were made for 768 pixels
    return _scheduled(pipeline, prediction or "epsilon", zero_snr=ZERO_SNR in found.markers)


def tokenizers(configs: str) -> dict[str, Any]:
    """CLIP's vocabulary is the same in all; open_clip's text encoders fill prompts up with "!" (token 0)."""
    if configs == "sdxl":
        return {"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer(pad_token="!")}
    return {"tokenizer": clip_tokenizer(pad_token="!" if configs == "sd2" else END)}


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


def _read(path: Path, found: Contents, config: Path, dtype: torch.dtype, **parts: Any) -> Any:
    import diffusers

    index = model_index(config)
    kind = index.get("_class_name")
    if kind != found.pipeline:
        raise ValueError(
            f"{path} does not fit the networks that {config} describes: it holds {found.name}, they are of a {kind}"
        )
    declared, _ = read_header(path)
    for part, named in family_of(config).model().parts.items():
        with torch.device("meta"), reading(config / part):
            made(*network_config(config / part, named), 2 * len(declared) + 100)
    scheduler = load_scheduler(config, index.get("scheduler"))
    left_out = {"safety_checker": None} if kind == "StableDiffusionPipeline" else {}
    with reading(path, f"it does not fit the networks that {config} describes: "):
        pipeline = getattr(diffusers, found.pipeline).from_single_file(
            str(path), config=str(config), dtype=dtype, local_files_only=True, scheduler=scheduler, **left_out, **parts
        )
    more = sum(name.startswith(DENOISER) for name in declared) - len(pipeline.unet.state_dict())
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
