"""Stable Diffusion 1.x and 2.x: a U-Net that reads one CLIP text encoder's tokens (arXiv 2112.10752)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.families.text_reading import ClipReading
from excise.models.families.unet import UNetModel
from excise.models.networks import check_prompts
from excise.models.sampling import Sampler


class StableDiffusion(UNetModel):
    """Stable Diffusion 1.x and 2.x, SD-Turbo."""

    parts: ClassVar = {
        "unet": "diffusers.UNet2DConditionModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModel",
    }
    editable: ClassVar = ("unet", "text_encoder")
    left_out_parts: ClassVar = {"safety_checker": None, "requires_safety_checker": False}
    usual: ClassVar = Sampler(steps=50, guidance_scale=7.5)  # StableDiffusionPipeline's own

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 256) -> Conditioning:
        check_prompts(prompts, batch)
        parts = []
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            read = ClipReading(self.tokenizer, self.pipeline.text_encoder, some, self.long_prompts)
            parts.append(read.told(read.output[0]))
        return Conditioning.join(parts).to(self.device, self.dtype)

    @property
    def token_embeddings(self) -> Tensor:
        return self.pipeline.text_encoder.get_input_embeddings().weight.detach()

    def encode_rows(self, ids: Tensor, rows: Tensor) -> Conditioning:
        encoder = self.pipeline.text_encoder
        mask = None
        if getattr(encoder.config, "use_attention_mask", False):
            ends = (ids == self.tokenizer.eos_token_id).int().argmax(1, keepdim=True)
            mask = (torch.arange(ids.shape[1], device=ids.device) <= ends).long()
        hook = encoder.get_input_embeddings().register_forward_hook(lambda module, inputs, output: rows.to(output.dtype))
        try:
            return Conditioning(encoder(ids, attention_mask=mask)[0].to(self.dtype))
        finally:
            hook.remove()

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        told = {"encoder_hidden_states": conditioning.tokens, "encoder_attention_mask": conditioning.mask}
        return self.pipeline.unet(x, t, **told).sample
