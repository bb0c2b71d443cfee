"""A text-to-image diffusion model as the rest of the package sees it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from excise.concepts import Catalog
from excise.models.context import left_out, room
from excise.models.guidance import guided, sampling_scale
from excise.models.precision import bfloat16_arithmetic
from excise.models.schedule import Schedule
from excise.randomness import start_stream, step_stream


@dataclass(frozen=True)
class Sampler:
    """How pictures are made by default: steps, classifier-free guidance scale (1 or less = off), picture edge in pixels."""

    steps: int = 50
    guidance_scale: float = 7.5
    size: int = 512


@dataclass(frozen=True)
class SamplingState:
    """Where a sampler is.

    index    steps done
    timestep 0–999, -1 when it is finished
    latents  (b, c, h, w) before the step, in the sampler's own scale
    input    (b, c, h, w) what the network is given: alpha x + sigma e, whatever the sampler's scale
    """

    index: int
    timestep: int
    latents: Tensor
    input: Tensor


def own_size(pipeline: Any) -> int:
    """Edge in pixels of the pictures that a pipeline's U-Net was made for."""
    return pipeline.unet.config.sample_size * pipeline.vae_scale_factor


class Model:
    """Stable Diffusion 1.x / 2.x: a U-Net that predicts noise or velocity on autoencoder latents.

    pipeline   the diffusers pipeline; its components are shared, not copied
    name       what reports call it
    catalog    the concepts it declares (empty: any free text)
    sampler    its default sampler
    folder     where it was loaded from, if it was a folder
    classifier file of the classifier that comes with it, or None
    mixed      compute the network's predictions in bfloat16, with the weights as they are
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str,
        catalog: Catalog | None = None,
        sampler: Sampler | None = None,
        folder: Path | None = None,
        classifier: Path | None = None,
        mixed: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.name = name
        self.catalog = catalog or Catalog()
        self.folder = folder
        self.classifier = classifier
        self.mixed = mixed
        self.sampler = sampler or Sampler(size=own_size(pipeline))
        self.told_cut: set[str] = set()  # prompts that the user was told are cut (`context.tell_cut`)
        for module in self.components.values():
            module.eval().requires_grad_(False)
        pipeline.vae.eval().requires_grad_(False)

    @property
    def unet(self) -> nn.Module:
        """The denoiser."""
        return self.pipeline.unet

    @property
    def components(self) -> dict[str, nn.Module]:
        """The networks that an edit may change, by the name that prefixes their tensors in an edit file."""
        return {"unet": self.pipeline.unet, "text_encoder": self.pipeline.text_encoder}

    @property
    def device(self) -> torch.device:
        return self.pipeline.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.pipeline.unet.dtype

    @property
    def precision(self) -> str:
        """How it computes, as `load` calls it: float32, float16, bfloat16 or mixed."""
        return "mixed" if self.mixed else str(self.dtype).removeprefix("torch.")

    @cached_property
    def schedule(self) -> Schedule:
        """Its noise schedule."""
        return Schedule.of(self.pipeline.scheduler)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of a default picture."""
        edge = self.sampler.size // self.pipeline.vae_scale_factor
        return self.pipeline.unet.config.in_channels, edge, edge

    def batch(self, most: int) -> int:
        """Pictures to make, read or predict at once without gradients: `most`, of large ones as many as have a million pixels (ours)."""
        return min(most, max(1, 2**20 // self.sampler.size**2))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 256) -> Tensor:
        """Text embeddings, (prompts, tokens, width); prompts longer than the context are cut (`left_out`)."""
        tokenizer, encoder = self.pipeline.tokenizer, self.pipeline.text_encoder
        parts = []
        for start in range(0, len(prompts), batch):
            tokens = tokenizer(
                list(prompts[start : start + batch]),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
            parts.append(encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0])
        return torch.cat(parts).to(self.dtype)

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as `encode` sees it: start and end included, padding left out."""
        tokenizer = self.pipeline.tokenizer
        return tokenizer(list(prompts), truncation=True, max_length=tokenizer.model_max_length).input_ids

    @property
    def room(self) -> int:
        """Tokens of a prompt that it reads."""
        return room(self.pipeline.tokenizer)

    def left_out(self, prompts: Sequence[str]) -> dict[str, str]:
        """The end that `encode` cuts off each prompt that is longer than that, by prompt, in the order given."""
        return left_out(self.pipeline.tokenizer, prompts)

    def predict(self, latents: Tensor, t: Tensor, conditioning: Tensor) -> Tensor:
        """The network's raw output (noise or velocity), shape of `latents` (b, c, h, w).

        t (b,) int64 timesteps 0–999; conditioning (b, tokens, width).
        """
        with bfloat16_arithmetic(self.device) if self.mixed else nullcontext():
            output = self.pipeline.unet(latents, t.to(latents.device), encoder_hidden_states=conditioning).sample
        return output.to(latents.dtype) if self.mixed else output

    @contextmanager
    def unrounded(self) -> Iterator[None]:
        """Predictions in the weights' own dtype inside the block, also of a mixed model: where small differences are what matters."""
        mixed, self.mixed = self.mixed, False
        try:
            yield
        finally:
            self.mixed = mixed

    def start_noise(self, seeds: Sequence[int]) -> Tensor:
        """Standard normal latents, one CPU generator per picture, so that a picture depends on its own seed alone."""
        noise = [torch.randn(self.latent_shape, generator=start_stream(seed)) for seed in seeds]
        return torch.stack(noise).to(self.device, self.dtype)

    @staticmethod
    def step_noise(seeds: Sequence[int]) -> list[torch.Generator]:
        """Generators of the noise that a stochastic sampler adds, one per picture; with the seed itself the start noise would come again."""
        return [step_stream(seed) for seed in seeds]

    @torch.no_grad()
    def trajectory(
        self,
        conditioning: Tensor,
        latents: Tensor,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        signed: bool = False,
        unconditional: Tensor | None = None,
        generators: list[torch.Generator] | None = None,
        eta: float = 0.0,
        start: int = 0,
    ) -> Iterator[SamplingState]:
        """Run the model's sampler and yield every state; the last one holds the finished latents (timestep -1).

        conditioning   (b, tokens, width)
        latents        (b, c, h, w) where the sampler starts: standard normal noise for start = 0, else a state's latents
        guidance_scale default the model's; 1 or less is off, as in diffusers (`guidance.sampling_scale`)
        signed         take the scale at its word, also below 1: 0 is the empty prompt, less leads away from the prompt
        unconditional  (1 or b, tokens, width); default the empty prompt
        generators     one per picture, for samplers that draw noise (eta > 0), such as `step_noise`'s
        start          number of steps to skip (image to image)
        """
        steps = steps or self.sampler.steps
        scale = self.sampler.guidance_scale if guidance_scale is None else guidance_scale
        scale = scale if signed else sampling_scale(scale)
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        scheduler.set_timesteps(steps, device=self.device)
        b = len(latents)
        twice = scale != 1.0
        if twice:
            unconditional = self.encode([""]) if unconditional is None else unconditional
            conditioning = torch.cat([unconditional.expand(b, -1, -1), conditioning])
        extra = self._step_options(scheduler, generators, eta)
        if start == 0:
            latents = latents * scheduler.init_noise_sigma
        elif hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        for index, t in enumerate(scheduler.timesteps[start:], start):
            x = scheduler.scale_model_input(latents, t)
            yield SamplingState(index, int(t), latents, x)
            times = t.expand(2 * b if twice else b).to(self.device)
            output = self.predict(torch.cat([x, x]) if twice else x, times, conditioning)
            if twice:
                without, with_ = output.chunk(2)
                output = guided(without, with_, scale)
            latents = scheduler.step(output, t, latents, **extra).prev_sample
        yield SamplingState(len(scheduler.timesteps), -1, latents, latents)

    def _step_options(self, scheduler: Any, generators: list[torch.Generator] | None, eta: float) -> dict[str, Any]:
        import inspect

        takes = inspect.signature(scheduler.step).parameters
        options: dict[str, Any] = {}
        if "eta" in takes:
            options["eta"] = eta
            if self.schedule.alphas_cumprod[-1] == 0:  # else a rounding error under DDIM's square root makes the first step NaN
                options["eta"] = min(eta, 1 - 1e-6)
        if "generator" in takes and generators is not None:
            options["generator"] = generators
        return options

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        batch: int | None = None,
    ) -> Tensor:
        """Pictures for prompts, one seed each: (n, 3, size, size) float32 in 0–1 on the CPU.

        Raises ValueError if there are not as many seeds as prompts.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; each picture needs its own")
        pictures, batch = [], batch or self.batch(32)
        for start in range(0, len(prompts), batch):
            rows = slice(start, start + batch)
            conditioning = self.encode(prompts[rows])
            state = None
            for state in self.trajectory(  # noqa: B007
                conditioning, self.start_noise(seeds[rows]), steps=steps, guidance_scale=guidance_scale,
                generators=self.step_noise(seeds[rows]),
            ):  # fmt: skip
                pass
            assert state is not None
            pictures.append(self.decode(state.latents))
        return torch.cat(pictures) if pictures else torch.empty(0, 3, self.sampler.size, self.sampler.size)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (b, c, h, w) to pictures (b, 3, size, size), float32 in 0–1 on the CPU."""
        vae = self.pipeline.vae
        parts = [vae.decode(chunk.to(vae.dtype) / vae.config.scaling_factor).sample for chunk in latents.split(self.batch(64))]
        return (torch.cat(parts).float() / 2 + 0.5).clamp(0, 1).cpu()

    @torch.no_grad()
    def encode_pictures(self, pictures: Tensor, batch: int | None = None) -> Tensor:
        """Pictures (n, 3, size, size) in 0–1 to scaled latents (posterior mean), in the model's dtype."""
        vae = self.pipeline.vae
        parts = [
            vae.encode((chunk * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mean * vae.config.scaling_factor
            for chunk in pictures.split(batch or self.batch(64))
        ]
        return torch.cat(parts).to(self.device, self.dtype)
