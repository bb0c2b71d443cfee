"""FLUX.2-klein: a transformer of two streams, then one, that reads three layers of a language model."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from excise.models.conditioning import Conditioning
from excise.models.entrances import Entrance
from excise.models.families.joint_attention import in_joint_attention
from excise.models.families.qwen import QwenModel
from excise.models.sampling import Sampler

PATCH = 2
"""Rows and columns of the autoencoder's latents that are one pixel of the denoiser's, with as many channels more."""


class Flux2Klein(QwenModel):
    """FLUX.2-klein, base and distilled. All 512 rows of a prompt are read, those that fill it up too."""

    parts: ClassVar = {
        "transformer": "diffusers.Flux2Transformer2DModel",
        "vae": "diffusers.AutoencoderKLFlux2",
        "text_encoder": "transformers.Qwen3ForCausalLM",
    }
    editable: ClassVar = ("transformer",)
    hidden: ClassVar = (9, 18, 27)
    thinking: ClassVar = False
    filled: ClassVar = True

    @staticmethod
    def check_words(pipeline: Any, model: object) -> None:
        QwenModel.check_words(pipeline, model)
        if pipeline.tokenizer.padding_side != "right":
            raise ValueError(f"{model}: its tokenizer fills prompts up on the left; the transformer knows the right")

    @staticmethod
    def own_sampler(pipeline: Any) -> Sampler:
        """Of the distilled one what its authors use, else Flux2KleinPipeline's own."""
        size = pipeline.vae.config.sample_size
        return Sampler(4, 1.0, size) if pipeline.config.is_distilled else Sampler(50, 4.0, size)

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        return (Entrance("transformer.context_embedder.weight", "tokens"),)

    @property
    def grain(self) -> int:
        return self.pipeline.vae_scale_factor * PATCH

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        edge = self.sampler.size // self.grain
        return self.pipeline.transformer.config.in_channels, edge, edge

    def scaled(self, own: Tensor) -> Tensor:
        mean, deviation = self._statistics(own)
        return (pixel_unshuffle(own, PATCH) - mean) / deviation

    def unscaled(self, latents: Tensor) -> Tensor:
        mean, deviation = self._statistics(latents)
        return pixel_shuffle(latents * deviation + mean, PATCH)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the autoencoder's latents, (channels, 1, 1) each."""
        vae = self.pipeline.vae
        mean, variance = (part.view(-1, 1, 1) for part in (vae.bn.running_mean, vae.bn.running_var))
        return mean.to(like), torch.sqrt(variance + vae.config.batch_norm_eps).to(like)

    def guidance(self, told: float) -> float:
        return 1.0 if self.pipeline.config.is_distilled else super().guidance(told)

    def in_subspace(self, name: str, subspace: str) -> bool:
        return in_joint_attention(name, subspace)

    def schedule(self, scheduler: Any, steps: int, height: int, width: int) -> dict[str, Any]:
        told, config = super().schedule(scheduler, steps, height, width), scheduler.config
        if config.get("use_dynamic_shifting"):
            told["mu"] = compute_empirical_mu(height * width, steps)
        return told if config.get("use_flow_sigmas") else {**told, "sigmas": np.linspace(1.0, 1 / steps, steps)}

    def _output(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        tokens, (rows, columns) = conditioning.tokens, x.shape[-2:]
        output = self.pipeline.transformer(
            x.flatten(2).transpose(1, 2),
            timestep=t.to(x.dtype) / 1000,
            encoder_hidden_states=tokens,
            txt_ids=places(1, 1, tokens.shape[1]).to(x.device),
            img_ids=places(rows, columns, 1).to(x.device),
        ).sample
        return output.transpose(1, 2).unflatten(2, (rows, columns))


def places(rows: int, columns: int, words: int) -> Tensor:
    """Where tokens are: picture (always the first), row, column, word; (rows columns words, 4) int64."""
    return torch.cartesian_prod(torch.arange(1), torch.arange(rows), torch.arange(columns), torch.arange(words))
