"""FLUX.1 dev and schnell: a transformer that reads T5's tokens and CLIP's pooled row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.entrances import Segment
from excise.models.families.mmdit import MMDiTModel
from excise.models.families.picture_tokens import PATCH, packed, unpacked
from excise.models.families.text_reading import read_by_clip, read_by_t5, t5_segment
from excise.models.networks import check_prompts
from excise.models.sampling import Sampler


class Flux(MMDiTModel):
    """FLUX.1: dev was distilled from guided predictions and takes the guidance scale as a number; schnell to four steps without guidance.

    The sampler runs one pass a step, whatever the scale. Predictions that no sampler asks for are unguided: dev is told 1, as ESD does
    while it trains (rohitgandikota/erasing: esd_flux.py).
    """

    parts: ClassVar = {
        "transformer": "diffusers.FluxTransformer2DModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModel",
        "text_encoder_2": "transformers.T5EncoderModel",
    }
    editable: ClassVar = ("transformer", "text_encoder")
    left_out_parts: ClassVar = {"image_encoder": None, "feature_extractor": None}
    t5: ClassVar = "_2"
    max_shift: ClassVar = 1.15

    @staticmethod
    def own_sampler(pipeline: Any) -> Sampler:
        """FluxPipeline's own, and of schnell what its authors use; the size is that of the autoencoder, the transformer has none."""
        size = pipeline.vae.config.sample_size
        if takes_guidance(pipeline):
            return Sampler(steps=28, guidance_scale=3.5, size=size)
        return Sampler(steps=4, guidance_scale=0.0, size=size)

    @property
    def asked_rows(self) -> int:
        """The pipeline's 512, of schnell its authors' 256."""
        return 512 if takes_guidance(self.pipeline) else 256

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 32) -> Conditioning:
        check_prompts(prompts, batch)
        pipeline, tokens, pooled = self.pipeline, [], []
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            tokens.append(read_by_t5(pipeline.tokenizer_2, pipeline.text_encoder_2, some, self.t5_rows))
            pooled.append(read_by_clip(pipeline.tokenizer, pipeline.text_encoder, some).pooler_output)
        return Conditioning(torch.cat(tokens).to(self.dtype), torch.cat(pooled).to(self.dtype))

    def segments(self, prompts: Sequence[str]) -> list[tuple[Segment, ...]]:
        return [(t5_segment(ids, 0, self.t5_rows),) for ids in self.t5_ids(prompts)]

    def guidance(self, told: float) -> float:
        """Always 1: there is no second pass."""
        return 1.0

    def guidance_seen(self, told: float) -> float:
        return told if takes_guidance(self.pipeline) else 1.0

    def with_guidance(self, conditioning: Conditioning, told: float) -> Conditioning:
        if not takes_guidance(self.pipeline):
            return conditioning
        return replace(
            conditioning, ids={"guidance": torch.full((len(conditioning),), told, device=conditioning.tokens.device)}
        )

    def schedule(self, scheduler: Any, steps: int, height: int, width: int) -> dict[str, Any]:
        told = super().schedule(scheduler, steps, height, width)
        own = scheduler.config.get("use_flow_sigmas")
        return told if own else {**told, "sigmas": np.linspace(1.0, 1 / steps, steps)}

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        rows, columns = (edge // PATCH for edge in x.shape[-2:])
        guidance = None
        if takes_guidance(self.pipeline):
            guidance = conditioning.ids.get("guidance", torch.ones(len(x), device=x.device))
        output = self.pipeline.transformer(
            hidden_states=packed(x),
            timestep=t.to(x.dtype) / 1000,
            guidance=guidance,
            pooled_projections=conditioning.pooled,
            encoder_hidden_states=conditioning.tokens,
            txt_ids=torch.zeros(conditioning.tokens.shape[1], 3, device=x.device),
            img_ids=places(rows, columns).to(x.device),
        ).sample
        return unpacked(output, rows, columns)


def takes_guidance(pipeline: Any) -> bool:
    """Whether it is dev."""
    return pipeline.transformer.config.guidance_embeds


def places(rows: int, columns: int) -> Tensor:
    """Where each token of a picture is: 0, its row, its column, (rows columns, 3)."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], -1).flatten(0, 1).float()
