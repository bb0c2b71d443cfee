"""Z-Image: a transformer that reads picture and text in one stream (arXiv 2511.22699)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.entrances import Entrance, Way
from excise.models.families.picture_tokens import size_shift
from excise.models.families.qwen import QwenModel
from excise.models.sampling import Sampler

TURBO = 3.0
"""Shift of the Turbo's scheduler, in which alone its configs differ from Z-Image's (6.0)."""
BLOCK = 32
"""The transformer fills the tokens of every prompt up to a multiple of this (diffusers' `SEQ_MULTI_OF`)."""


class ZImage(QwenModel):
    """Z-Image and Z-Image-Turbo. States are float32 in every precision, as the pipeline has them."""

    parts: ClassVar = {
        "transformer": "diffusers.ZImageTransformer2DModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.Qwen3Model",
    }
    editable: ClassVar = ("transformer",)
    hidden: ClassVar = (-2,)
    thinking: ClassVar = True
    told: list[int]
    """Tokens of the prompts that the transformer was last given."""

    @staticmethod
    def own_sampler(pipeline: Any) -> Sampler:
        size = pipeline.vae.config.sample_size
        turbo = pipeline.scheduler.config.shift == TURBO
        return Sampler(9, 0.0, size) if turbo else Sampler(50, 4.0, size)  # the authors' model cards

    @property
    def latent_dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        return (Entrance("transformer.cap_embedder.1.weight", "tokens"),)

    def read(self, conditioning: Conditioning, way: Way) -> Tensor:
        return self.pipeline.transformer.cap_embedder[0](super().read(conditioning, way))

    def begins(self, rows: Tensor) -> Tensor:
        """Its entrance gives (rows, out): the prompts', filled up, one after the other."""
        found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        start = 0
        for count in self.told:
            for opening in self.openings:
                found[start + opening.start : start + opening.stop] = True
            start += -(-count // BLOCK) * BLOCK
        return found

    def guidance(self, told: float) -> float:
        """0 is off, as its users write it; s leads s times further than the prompt alone does."""
        return 1 + max(told, 0.0)

    def guided(self, without: Tensor, with_: Tensor, scale: float) -> Tensor:
        return with_ + (scale - 1) * (with_ - without)

    def schedule(self, scheduler: Any, steps: int, height: int, width: int) -> dict[str, Any]:
        told = {**super().schedule(scheduler, steps, height, width), **size_shift(scheduler.config, height, width)}
        return {**told, "sigmas": np.array(get_default_z_image_sigmas(steps))}

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The transformer's time runs from noise (0) to the picture (1), and so does its velocity."""
        transformer, self.told = self.pipeline.transformer, conditioning.lengths
        told = [tokens[:count] for tokens, count in zip(conditioning.tokens, self.told, strict=True)]
        pictures = list(x.to(transformer.dtype).unsqueeze(2))
        velocity = transformer(pictures, (1000 - t) / 1000, told, return_dict=False)[0]
        return -torch.stack(velocity).squeeze(2).to(x.dtype)
