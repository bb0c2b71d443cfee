"""What the folder of canvas-flow is made of: the trained parts, and the canvas's own autoencoder and classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextModelWithProjection

from excise.canvas.flow.transformer import TRAINED, build_scheduler
from excise.canvas.flow.two_encoders import FOLDERS, build_tokenizer
from excise.canvas.flow.two_places import FILE
from excise.models.built_in import LENT, built_in

DESCRIPTION: dict[str, Any] = {"sampler": {"steps": 20, "guidance_scale": 5.5, "size": 64}, "places": FILE}
"""What its `excise.json` says otherwise than the canvas's."""


def pipeline(work: Path) -> StableDiffusion3Pipeline:
    """The trained parts in float32, as one pipeline."""
    encoders = [CLIPTextModelWithProjection.from_pretrained(work / TRAINED / folder) for folder in FOLDERS]
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel.from_pretrained(work / "transformer"),
        scheduler=build_scheduler(),
        # The pipeline adds the shift to finished latents; the canvas's configuration has none.
        vae=AutoencoderKL.from_pretrained(built_in("canvas") / "vae", shift_factor=0.0),
        text_encoder=encoders[0],
        tokenizer=build_tokenizer(),
        text_encoder_2=encoders[1],
        tokenizer_2=build_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def files(work: Path) -> dict[str, Path]:
    """Files of the folder beside the pipeline's own: the canvas's, which ship once, to the byte, and the judge of places."""
    return {lent: built_in("canvas") / lent for lent in LENT["canvas-flow"]} | {FILE: work / FILE}
