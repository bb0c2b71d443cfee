"""Stable Diffusion 3 and 3.5: a transformer that reads two CLIP text encoders and T5, row after row (arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from excise.models.conditioning import Conditioning
from excise.models.entrances import Segment, Way
from excise.models.families.mmdit import MMDiTModel
from excise.models.families.text_reading import clip_segment, read_by_clip, read_by_t5, t5_segment
from excise.models.networks import check_prompts
from excise.models.sampling import Sampler


class StableDiffusion3(MMDiTModel):
    """SD 3 and 3.5, with T5 or without it: its rows are zeros then, which say nothing, or are not there.

    The tokens are the rows of both CLIPs side by side, filled up with zeros to T5's width, and T5's rows after them. Nothing in its files
    tells SD 3.5 Large Turbo, which is used with 4 steps and no guidance, from SD 3.5 Large.
    """

    parts: ClassVar = {
        "transformer": "diffusers.SD3Transformer2DModel",
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModelWithProjection",
        "text_encoder_2": "transformers.CLIPTextModelWithProjection",
        "text_encoder_3": "transformers.T5EncoderModel",
    }
    optional: ClassVar = frozenset({"text_encoder_3"})
    editable: ClassVar = ("transformer", "text_encoder", "text_encoder_2")
    left_out_parts: ClassVar = {"image_encoder": None, "feature_extractor": None}
    t5: ClassVar = "_3"
    max_shift: ClassVar = 1.16

    @property
    def asked_rows(self) -> int:
        """The pipeline's default; none where tokens are just as wide as both CLIPs', which leaves no room for T5's: zeros in its place cost
        much and say nothing. That is the pipeline's `max_sequence_length=0`."""
        pipeline = self.pipeline
        clips = pipeline.text_encoder.config.hidden_size + pipeline.text_encoder_2.config.hidden_size
        return 256 if pipeline.transformer.config.joint_attention_dim > clips else 0

    @staticmethod
    def own_sampler(pipeline: Any) -> Sampler:
        """StableDiffusion3Pipeline's own."""
        return Sampler(steps=28, guidance_scale=7.0, size=pipeline.default_sample_size * pipeline.vae_scale_factor)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 32) -> Conditioning:
        check_prompts(prompts, batch)
        parts = [self._read(prompts[start : start + batch]) for start in range(0, len(prompts), batch)]
        tokens, pooled = (torch.cat(tensors).to(self.dtype) for tensors in zip(*parts, strict=True))
        return Conditioning(tokens, pooled)

    def _read(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and pooled rows of prompts."""
        pipeline, width = self.pipeline, self.pipeline.transformer.config.joint_attention_dim
        one = read_by_clip(pipeline.tokenizer, pipeline.text_encoder, prompts)
        other = read_by_clip(pipeline.tokenizer_2, pipeline.text_encoder_2, prompts)
        clip = torch.cat([one.hidden_states[-2], other.hidden_states[-2]], -1)
        if self.t5_rows:
            rest = read_by_t5(pipeline.tokenizer_3, pipeline.text_encoder_3, prompts, self.t5_rows)
        else:
            rest = clip.new_zeros(len(prompts), self.asked_rows, width)
        tokens = torch.cat([nn.functional.pad(clip, (0, rest.shape[-1] - clip.shape[-1])), rest], 1)
        return tokens, torch.cat([one.text_embeds, other.text_embeds], -1)

    def segments(self, prompts: Sequence[str]) -> list[tuple[Segment, ...]]:
        clip = [clip_segment(self.tokenizer, ids) for ids in self.token_ids(prompts)]
        if not self.t5_rows:
            return [(own,) for own in clip]
        t5 = self.t5_ids(prompts)
        return [(own, t5_segment(ids, own.stop, self.t5_rows)) for own, ids in zip(clip, t5, strict=True)]

    def read(self, conditioning: Conditioning, way: Way) -> Tensor:
        """Without the zeros in the place of T5's rows."""
        if way == "tokens" and not self.t5_rows:
            conditioning = conditioning.with_tokens(conditioning.tokens[:, : self.tokenizer.model_max_length])
        return super().read(conditioning, way)

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        return self.pipeline.transformer(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=conditioning.tokens,
            pooled_projections=conditioning.pooled,
        ).sample
