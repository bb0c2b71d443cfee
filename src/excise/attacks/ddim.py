"""DDIM, step by step, for attacks that reach into the sampler (arXiv 2010.02502, eq. 12)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from excise.models import Conditioning, Model


@dataclass(frozen=True)
class Step:
    """One step of a sampler.

    index    how many steps come before it
    t        timestep that it starts from, 0–999
    abar     alpha^2 at t
    previous alpha^2 where the step leads; 1 at the end of most schedules
    """

    index: int
    t: int
    abar: float
    previous: float


def grid(model: Model, steps: int | None = None) -> list[Step]:
    """The steps of diffusers' DDIM sampler on this model's noise path; by default as many as the model takes."""
    scheduler = DDIMScheduler.from_config(model.pipeline.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(steps or model.sampler.steps)
    abar, _ = model.path.squares(torch.arange(model.path.steps))
    stride = model.path.steps // scheduler.num_inference_steps
    found = []
    for index, t in enumerate(scheduler.timesteps.tolist()):
        previous = abar[t - stride] if t >= stride else scheduler.final_alpha_cumprod
        found.append(Step(index, t, float(abar[t]), float(previous)))
    return found


def both(model: Model, z: Tensor, t: int, unconditional: Conditioning, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
    """The network's output without and with the prompt, in one pass.

    z             (b, c, h, w) noised latents
    unconditional the empty prompt, 1 or b times; conditioning: b prompts
    """
    prompts = Conditioning.join([unconditional.expand(len(z)), conditioning])
    without, with_ = model.predict(torch.cat([z, z]), torch.full((2 * len(z),), t), prompts).chunk(2)
    return without, with_


def move(
    model: Model, output: Tensor, z: Tensor, step: Step, *, eta: float = 0.0, boost: float = 1.0, noise: Tensor | None = None
) -> Tensor:
    """The latents after one step, from the network's guided output.

    eta, boost how much noise the step adds (`advance`); with eta > 0 give `noise`, (b, c, h, w)
    """
    t = torch.tensor([step.t])
    path = model.path
    return advance(path.to_x0(output, z, t), path.to_noise(output, z, t), step, eta=eta, boost=boost, noise=noise)


def advance(
    x: Tensor, epsilon: Tensor, step: Step, *, eta: float = 0.0, boost: float = 1.0, noise: Tensor | None = None
) -> Tensor:
    """The latents after one step: sqrt(previous) x + sqrt(|1 - previous - eta^2 s^2|) epsilon + boost eta s noise.

    x, epsilon (b, c, h, w), the clean latents and the noise that the network sees in the current ones
    eta, boost 0 makes the step deterministic; both 1 make it DDPM's
    s^2        variance of the true posterior, (1 - previous) / (1 - abar) (1 - abar / previous)
    """
    variance = (1 - step.previous) / (1 - step.abar) * (1 - step.abar / step.previous)
    z = math.sqrt(step.previous) * x + math.sqrt(abs(1 - step.previous - eta**2 * variance)) * epsilon
    return z if noise is None or eta == 0 else z + boost * eta * math.sqrt(variance) * noise


def finish(
    model: Model, z: Tensor, steps: Sequence[Step], empty: Conditioning, asked: Conditioning,
    *, change: Callable[[Tensor, Step], Tensor] = lambda z, step: z,
) -> Tensor:  # fmt: skip
    """The latents after these steps, with the model's own guidance.

    z            (b, c, h, w) latents before the first of the steps
    empty, asked the empty prompt, and b prompts
    change       what is done to the latents after every step
    """
    scale = model.guidance(model.sampler.guidance_scale)
    for step in steps:
        with torch.no_grad():
            without, with_ = both(model, z, step.t, empty, asked)
        z = change(move(model, model.guided(without, with_, scale), z, step), step)
    return z


@torch.no_grad()
def finish_alone(model: Model, z: Tensor, steps: Sequence[Step], told: Conditioning) -> Tensor:
    """The latents after these steps without guidance, one call each.

    z    (b, c, h, w) latents before the first of the steps
    told one prompt or b
    """
    for step in steps:
        z = move(model, _alone(model, z, step.t, told), z, step)
    return z


@torch.no_grad()
def inverted(model: Model, x: Tensor, steps: Sequence[Step], told: Conditioning) -> Tensor:
    """The latents from which these steps without guidance lead to x: each step backwards, with the noise that the network sees where the
    step leads to in place of that where it starts (arXiv 2010.02502, section 4.3). The more steps, the nearer; exact in the limit.

    x    (b, c, h, w) clean latents
    told one prompt or b
    """
    z, times = x, [0, *(step.t for step in reversed(steps))]
    for t, step in zip(times, reversed(steps), strict=False):
        output, here = _alone(model, z, t, told), torch.tensor([t])
        z = noised(model.path.to_x0(output, z, here), model.path.to_noise(output, z, here), step.abar)
    return z


def _alone(model: Model, z: Tensor, t: int, told: Conditioning) -> Tensor:
    return model.predict(z, torch.full((len(z),), t), told.expand(len(z)))


def noised(x: Tensor, noise: Tensor, abar: float) -> Tensor:
    """Clean latents, noised to the level alpha^2 = abar."""
    return math.sqrt(abar) * x + math.sqrt(1 - abar) * noise
