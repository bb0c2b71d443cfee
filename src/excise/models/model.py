"""A text-to-image diffusion model as the rest of the package sees it: what all families have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from excise.arguments import check_whole
from excise.concepts import Catalog
from excise.finite import check_finite
from excise.models.bystanders import Bystander
from excise.models.sampling import Sampled, Sampler, Sampling, Told, check_asked, network_input
from excise.models.tiling import tiled
from excise.models.words_once import words_once

SMALL = 256
"""Pixels of latents up to which what words give is computed once for all steps (ours): 7 % of the canvas's multiplications, whose have 64."""


class Model(Sampled):
    """A diffusion model on an autoencoder's latents; each family says what its networks are and how they are asked.

    It belongs to one thread at a time: edits change its weights while they are on, and so do some of its own methods. Threads that work at once
    need a model each.

    pipeline   the diffusers pipeline; its components are shared, not copied
    name       what reports call it
    catalog    the concepts it declares (empty: any free text)
    bystanders things beside those that it knows; no method may read them
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
        bystanders: Sequence[Bystander] = (),
        sampler: Sampler | None = None,
        folder: Path | None = None,
        classifier: Path | None = None,
        mixed: bool = False,
    ) -> None:
        super().__init__(pipeline, sampler=sampler, mixed=mixed)
        self.name = name
        self.catalog = catalog or Catalog()
        self.bystanders = tuple(bystanders)
        self.folder = folder
        self.classifier = classifier
        self.told_cut: set[str] = set()  # prompts that the user was told are cut (`context.tell_cut`)

    @torch.no_grad()
    def latents(
        self,
        prompts: Told,
        seeds: Sequence[int],
        *,
        starts: Tensor | None = None,
        batch: int | None = None,
        **sampling: Unpack[Sampling],
    ) -> Tensor:
        """The finished latents of prompts, one seed each, (n, c, h, w) on the model's device; options as of `trajectory`.

        batch  pictures at once; default 32, fewer of large ones
        """
        check_asked(prompts, seeds, starts, batch)
        batch = batch or self.batch(32)
        finished = [torch.empty(0, *self.latent_shape, device=self.device, dtype=self.latent_dtype)]
        for first in range(0, len(seeds), batch):
            rows = slice(first, first + batch)
            begin = None if starts is None else starts[rows]
            with words_once(self._word_layers()):
                states = self.trajectory(prompts[rows], seeds[rows], starts=begin, **sampling)
                finished.append(deque(states, maxlen=1).pop().latents)
        return torch.cat(finished[1:] or finished)

    def _word_layers(self) -> list[nn.Module]:
        """Layers that read the tokens alone, if that is some of the work: of large pictures it is next to none, and would cost memory."""
        small = self.latent_shape[1] * self.latent_shape[2] <= SMALL
        return list(self.layers(self.entrances_of("tokens")).values()) if small else []

    @torch.no_grad()
    def sample(
        self,
        prompts: Told,
        seeds: Sequence[int],
        *,
        starts: Tensor | None = None,
        batch: int | None = None,
        **sampling: Unpack[Sampling],
    ) -> Tensor:
        """Pictures of prompts, one seed each: (n, 3, size, size) float32 in 0–1 on the CPU; options as of `latents`.

        Raises ValueError if there are not as many seeds as prompts, and for an argument out of its range; FloatingPointError if a picture is
        not finite.
        """
        check_asked(prompts, seeds, starts, batch)
        pictures, batch = [torch.empty(0, 3, self.sampler.size, self.sampler.size)], batch or self.batch(32)
        for first in range(0, len(seeds), batch):
            rows = slice(first, first + batch)
            begin = None if starts is None else starts[rows]
            pictures.append(self.decode(self.latents(prompts[rows], seeds[rows], starts=begin, batch=batch, **sampling)))
        return torch.cat(pictures[1:] or pictures)

    @torch.no_grad()
    def ask_once(self) -> None:
        """Ask every part once, for as small a picture as there is: what does not fit another part raises whatever it raises."""
        told, scheduler = self.encode([""]), self._scheduler(2, self.device)
        x = torch.zeros(1, self.latent_shape[0], 8, 8, device=self.device, dtype=self.dtype)
        t = scheduler.timesteps[:1]
        output = self._output(x, torch.tensor([self._timestep(t[0])], device=self.device), told)
        options = self._step_options(scheduler, self.step_noise([0]), 0.0)
        latents = scheduler.step(output, t[0], network_input(scheduler, x, t[0]), **options).prev_sample
        self.autodecode(self.unscaled(latents.to(self.pipeline.vae.dtype)))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (b, c, h, w) to pictures (b, 3, size, size), float32 in 0–1 on the CPU.

        Raises ValueError for another shape; FloatingPointError if the autoencoder gives anything that is not finite: such a picture would be
        black, and look like one.
        """
        channels = self.latent_shape[0]
        if latents.ndim != 4 or latents.shape[1] != channels:
            raise ValueError(f"latents must be (n, {channels}, h, w), not {tuple(latents.shape)}")
        dtype = self.pipeline.vae.dtype
        parts = [self.autodecode(self.unscaled(chunk.to(dtype))) for chunk in latents.split(self.batch(64))]
        decoded = torch.cat(parts).float()
        check_finite(decoded, "a picture")
        return (decoded / 2 + 0.5).clamp(0, 1).cpu()

    @torch.no_grad()
    def encode_pictures(self, pictures: Tensor, batch: int | None = None) -> Tensor:
        """Pictures (n, 3, size, size) in 0–1 to scaled latents (posterior mean), in the dtype of the sampler's states.

        Raises ValueError for another shape.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(f"pictures must be (n, 3, h, w), not {tuple(pictures.shape)}")
        if batch is not None:
            check_whole("batch", batch, 1)
        vae = self.pipeline.vae
        parts = [
            self.scaled(self.autoencode((chunk * 2 - 1).to(self.device, vae.dtype)))
            for chunk in pictures.split(batch or self.batch(64))
        ]
        return torch.cat(parts).to(self.device, self.latent_dtype)

    def autodecode(self, own: Tensor) -> Tensor:
        """What the autoencoder makes of its own latents, (b, 3, h, w) in -1..1."""
        vae = self.pipeline.vae
        with tiled(vae, own.shape[-2] * own.shape[-1] * self.pipeline.vae_scale_factor**2):
            return vae.decode(own).sample

    def autoencode(self, pictures: Tensor) -> Tensor:
        """The autoencoder's own latents of pictures (b, 3, h, w) in -1..1, the posterior's mean."""
        vae = self.pipeline.vae
        with tiled(vae, pictures.shape[-2] * pictures.shape[-1]):
            return vae.encode(pictures).latent_dist.mean

    def scaled(self, own: Tensor) -> Tensor:
        """Latents (b, c, h, w) as the denoiser takes them, from the autoencoder's own: about mean 0 and deviation 1."""
        config = self.pipeline.vae.config
        if getattr(config, "shift_factor", None) is not None:
            own = own - config.shift_factor
        return own * config.scaling_factor

    def unscaled(self, latents: Tensor) -> Tensor:
        """The autoencoder's own latents (b, c, h, w) from those that the denoiser takes."""
        config = self.pipeline.vae.config
        own = latents / config.scaling_factor
        return own if getattr(config, "shift_factor", None) is None else own + config.shift_factor
