"""Qwen-Image: a transformer of two streams that reads the last layer of a language model (arXiv 2508.02324)."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from excise.models.conditioning import Conditioning
from excise.models.entrances import Entrance, Way
from excise.models.families.joint_attention import in_joint_attention
from excise.models.families.picture_tokens import PATCH, packed, size_shift, unpacked
from excise.models.families.qwen import QwenModel, check_qwen
from excise.models.sampling import Sampler


class QwenImage(QwenModel):
    """Qwen-Image. Guided predictions keep, token by token, the length of the prompt's own."""

    parts: ClassVar = {
        "transformer": "diffusers.QwenImageTransformer2DModel",
        "vae": "diffusers.AutoencoderKLQwenImage",
        "text_encoder": "transformers.Qwen2_5_VLForConditionalGeneration",
    }
    editable: ClassVar = ("transformer",)
    hidden: ClassVar = (-1,)
    untold: ClassVar = 34  # the pipeline's `prompt_template_encode_start_idx`: all that stands before the prompt
    longest: ClassVar = untold + 512

    @staticmethod
    def check_words(pipeline: Any, model: object) -> None:
        check_qwen(pipeline, model)

    @staticmethod
    def own_sampler(pipeline: Any) -> Sampler:
        """QwenImagePipeline's own."""
        return Sampler(50, 4.0, pipeline.default_sample_size * pipeline.vae_scale_factor)

    @cached_property
    def chat(self) -> tuple[str, str]:
        before, after = self.pipeline.prompt_template_encode.split("{}")
        return before, after

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        return (Entrance("transformer.txt_in.weight", "tokens"),)

    def read(self, conditioning: Conditioning, way: Way) -> Tensor:
        return self.pipeline.transformer.txt_norm(super().read(conditioning, way))

    def blank(self, empty: Conditioning) -> Conditioning:
        """A space, as its authors have it."""
        return self.encode([" "])

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        edge = self.sampler.size // self.grain
        return self.pipeline.vae.config.z_dim, edge, edge

    def scaled(self, own: Tensor) -> Tensor:
        mean, deviation = self._statistics(own)
        return (own - mean) / deviation

    def unscaled(self, latents: Tensor) -> Tensor:
        mean, deviation = self._statistics(latents)
        return latents * deviation + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the autoencoder's latents, (channels, 1, 1) each."""
        config = self.pipeline.vae.config
        mean, deviation = (torch.tensor(part).view(-1, 1, 1) for part in (config.latents_mean, config.latents_std))
        return mean.to(like), deviation.to(like)

    def autodecode(self, own: Tensor) -> Tensor:
        """The autoencoder is one of films; a picture is a film of one frame."""
        return super().autodecode(own[:, :, None])[:, :, 0]

    def autoencode(self, pictures: Tensor) -> Tensor:
        return super().autoencode(pictures[:, :, None])[:, :, 0]

    def guided(self, without: Tensor, with_: Tensor, scale: float) -> Tensor:
        led, own = packed(super().guided(without, with_, scale)), packed(with_)
        kept = led * (own.norm(dim=-1, keepdim=True) / led.norm(dim=-1, keepdim=True))
        return unpacked(kept, *(edge // PATCH for edge in with_.shape[-2:]))

    def in_subspace(self, name: str, subspace: str) -> bool:
        return in_joint_attention(name, subspace)

    def schedule(self, scheduler: Any, steps: int, height: int, width: int) -> dict[str, Any]:
        told = {**super().schedule(scheduler, steps, height, width), **size_shift(scheduler.config, height, width)}
        return {**told, "sigmas": np.linspace(1.0, 1 / steps, steps)}

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        rows, columns = (edge // PATCH for edge in x.shape[-2:])
        tokens, mask = trimmed(conditioning)
        output = self.pipeline.transformer(
            packed(x),
            timestep=t.to(x.dtype) / 1000,
            encoder_hidden_states=tokens,
            encoder_hidden_states_mask=mask,
            img_shapes=[[(1, rows, columns)]] * len(x),
        ).sample
        return unpacked(output, rows, columns)


def trimmed(conditioning: Conditioning) -> tuple[Tensor, Tensor | None]:
    """The tokens without those that no prompt has, and which of them count; None if all do."""
    lengths, mask = conditioning.lengths, conditioning.mask
    most = max(lengths)
    return conditioning.tokens[:, :most], None if mask is None or min(lengths) == most else mask[:, :most]
