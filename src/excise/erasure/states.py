"""Where the model is asked: states (x_t, t) of prompts with the concept."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from excise.erasure.prompts import PromptBank

if TYPE_CHECKING:
    from excise.models import Model


@dataclass(frozen=True)
class States:
    """States in a pool.

    latents (n, c, h, w)
    t       (n,) int64 timesteps
    row     (n,) int64, the prompt pair each belongs to
    picture (n,) int64, which picture's path it lies on
    noise   (n, c, h, w), the e of latents = alpha x + sigma e, x being the finished picture
    """

    latents: Tensor
    t: Tensor
    row: Tensor
    picture: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.t)


@torch.no_grad()
def trajectory_states(
    model: Model,
    bank: PromptBank,
    rows: Tensor,
    generator: Generator,
    *,
    steps: int,
    guidance_scale: float,
    eta: float = 0.0,
    batch: int = 64,
) -> States:
    """Every state that the model's own sampler visits on the way to a picture of each prompt, steps x rows of them.

    eta = 1 and guidance_scale = 1 make these samples of the path measure in the Girsanov bound; the defaults of methods may differ.
    """
    parts = []
    for pictures in torch.arange(len(rows)).split(batch):
        chunk = rows[pictures]
        seeds = torch.randint(2**31, (len(chunk),), generator=generator).tolist()
        path = model.trajectory(
            bank.conditioned[chunk],
            model.start_noise(seeds),
            steps=steps,
            guidance_scale=guidance_scale,
            unconditional=bank.empty,
            generators=[torch.Generator().manual_seed(seed + 1) for seed in seeds],
            eta=eta,
        )
        *visited, last = path
        t = torch.tensor([state.timestep for state in visited]).repeat_interleave(len(chunk))
        latents = torch.cat([state.input for state in visited])
        clean = last.latents.repeat(len(visited), 1, 1, 1)
        noise = (latents - model.schedule.alpha(t, latents) * clean) / model.schedule.sigma(t, latents)
        parts.append(States(latents, t, chunk.repeat(len(visited)), pictures.repeat(len(visited)), noise))
    return States(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(States)))


@torch.no_grad()
def forgetting_set(
    model: Model, bank: PromptBank, rows: Tensor, generator: Generator, *, steps: int, guidance_scale: float, batch: int = 64
) -> Tensor:
    """Latents of pictures that the model makes for each prompt, (rows, c, h, w): MiM-MU's forgetting set."""
    finished = []
    for chunk in rows.split(batch):
        seeds = torch.randint(2**31, (len(chunk),), generator=generator).tolist()
        *_, last = model.trajectory(
            bank.conditioned[chunk],
            model.start_noise(seeds),
            steps=steps,
            guidance_scale=guidance_scale,
            unconditional=bank.empty,
        )
        finished.append(last.latents)
    return torch.cat(finished)


def forward_states(model: Model, latents: Tensor, rows: Tensor, per_picture: int, generator: Generator) -> States:
    """Noised pictures: each of `latents` (n, c, h, w) at `per_picture` timesteps, stratified over the schedule."""
    count = per_picture * len(latents)
    slots = torch.rand(count, generator=generator) + torch.arange(per_picture).repeat_interleave(len(latents))
    t = (slots / per_picture * model.schedule.steps).long().clamp(max=model.schedule.steps - 1)
    clean = latents.repeat(per_picture, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device, clean.dtype)
    pictures = torch.arange(len(latents)).repeat(per_picture)
    return States(model.schedule.add_noise(clean, noise, t), t, rows.repeat(per_picture), pictures, noise)
