"""Stable Diffusion XL: a U-Net that reads two CLIP text encoders, token by token and as one row for the whole prompt (arXiv 2307.01952)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.entrances import Entrance
from excise.models.families.text_reading import ClipReading
from excise.models.families.unet import UNetModel
from excise.models.networks import check_prompts
from excise.models.sampling import Sampler


class StableDiffusionXL(UNetModel):
    """SDXL with its Turbo, Lightning and v-prediction descendants.

    Words have two ways in: the tokens of both text encoders, side by side, in cross-attention; and the second encoder's pooled and
    projected row, which with the picture's size is added to the timestep's embedding (`add_embedding`).
    """

    parts: ClassVar = {
        "unet": "diffusers.UNet2DConditionModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModel",
        "text_encoder_2": "transformers.CLIPTextModelWithProjection",
    }
    editable: ClassVar = ("unet", "text_encoder", "text_encoder_2")
    left_out_parts: ClassVar = {"add_watermarker": False}
    usual: ClassVar = Sampler(steps=50, guidance_scale=5.0)  # StableDiffusionXLPipeline's own

    def __init__(self, pipeline: Any, **about: Any) -> None:
        super().__init__(pipeline, **about)
        vae = pipeline.vae
        if vae.dtype == torch.float16 and vae.config.force_upcast:  # it overflows in float16
            vae.to(torch.float32)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 256) -> Conditioning:
        check_prompts(prompts, batch)
        pipeline, parts = self.pipeline, []
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            one = ClipReading(pipeline.tokenizer, pipeline.text_encoder, some, self.long_prompts)
            other = ClipReading(pipeline.tokenizer_2, pipeline.text_encoder_2, some, self.long_prompts)
            tokens = torch.cat([each.output.hidden_states[-2] for each in (one, other)], -1)
            parts.append(other.told(tokens, other.output.text_embeds))
        return Conditioning.join(parts).to(self.device, self.dtype)

    def blank(self, empty: Conditioning) -> Conditioning:
        """Zeros, where the pipeline says so (`force_zeros_for_empty_prompt`)."""
        if not self.pipeline.config.force_zeros_for_empty_prompt or empty.pooled is None:
            return empty
        return replace(empty, tokens=torch.zeros_like(empty.tokens), pooled=torch.zeros_like(empty.pooled))

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        return (Entrance("unet.add_embedding.linear_1.weight", "pooled"), *super().entrances)

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        height, width = (edge * self.grain for edge in x.shape[-2:])
        size = torch.tensor([[height, width, 0, 0, height, width]], device=x.device, dtype=conditioning.tokens.dtype)
        more = {"text_embeds": conditioning.pooled, "time_ids": size.expand(len(x), -1)}
        told = {"encoder_hidden_states": conditioning.tokens, "encoder_attention_mask": conditioning.mask}
        return self.pipeline.unet(x, t, **told, added_cond_kwargs=more).sample
