"""Where the model is asked: states (x_t, t) of prompts with the concept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor

from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.training_settings import Visiting
from excise.models import Model
from excise.models.path import per_row


@dataclass(frozen=True)
class States:
    """States in a pool.

    latents (n, c, h, w)
    t       (n,) timesteps as the sampler counts them
    row     (n,) int64, the prompt pair each belongs to
    picture (n,) int64, which picture's path it lies on: states of one picture are a run of the noising process, or of its reverse
    """

    latents: Tensor
    t: Tensor
    row: Tensor
    picture: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def part(self, rows: Tensor) -> States:
        """Some of them, rows (k,) int64."""
        return States(*(getattr(self, f.name)[rows.to(getattr(self, f.name).device)] for f in fields(self)))


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
) -> States:
    """Every state that the model's own sampler visits on the way to a picture of each prompt, steps x rows of them.

    eta = 1 and guidance_scale = 1 make these samples of the path measure in the Girsanov bound; the defaults of methods may differ.
    """
    parts = []
    for pictures in torch.arange(len(rows)).split(model.batch(64)):
        chunk = rows[pictures]
        seeds = torch.randint(2**31, (len(chunk),), generator=generator).tolist()
        *visited, _ = model.trajectory(
            bank.conditioned[chunk], seeds, steps=steps, guidance_scale=guidance_scale, unconditional=bank.empty, eta=eta
        )
        t = torch.tensor([state.timestep for state in visited]).repeat_interleave(len(chunk))
        latents = torch.cat([state.input for state in visited])
        parts.append(States(latents, t, chunk.repeat(len(visited)), pictures.repeat(len(visited))))
    return States(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(States)))


@torch.no_grad()
def stopped_states(
    model: Model, bank: PromptBank, rows: Tensor, generator: Generator, *, steps: int, guidance_scale: float
) -> States:
    """One state per prompt: where the sampler is when it first comes to a random one of its timesteps."""
    times = model.timesteps(steps)
    stop = times[torch.randint(len(times), (len(rows),), generator=generator)]
    seeds = torch.randint(2**31, (len(rows),), generator=generator).tolist()
    path = model.trajectory(bank.conditioned[rows], seeds, steps=steps, guidance_scale=guidance_scale, unconditional=bank.empty)
    latents, t = model.start_noise(seeds), torch.full_like(stop, -1)
    for state in path:
        here = (stop == state.timestep) & (t < 0)
        latents[here.to(latents.device)], t[here] = state.input[here.to(latents.device)], state.timestep
        if (t >= 0).all():
            break
    return States(latents, t, rows, torch.arange(len(rows)))


def within_bin(t: Tensor, steps: int, total: int, generator: Generator) -> Tensor:
    """Timesteps drawn anew, each from its own one of `steps` equal parts of 0..total-1, (n,) int64; t (n,) in 0..total."""
    part = (t * steps // total).long().clamp(max=steps - 1)
    drawn = ((part + torch.rand(len(t), generator=generator, dtype=torch.float64)) * total / steps).long()
    return torch.maximum(drawn, -(-part * total // steps))


def visits(
    model: Model,
    bank: PromptBank,
    settings: Visiting,
    run: Run,
    round_: int,
    sampler: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Callable[[int], States]:
    """Step of a round -> its batch of states, visited on the way to pictures of the bank's prompts.

    sampler  gives a block inside which the model is the one that visits; default as it is: the student
    """
    options = {"steps": settings.sampler_steps, "guidance_scale": settings.guidance_scale}
    if settings.states == "pool":
        generator = run.generator(0, round_)
        rows = bank.draw(settings.trajectories, generator, first=round_ * settings.trajectories)
        with sampler():
            pool = trajectory_states(model, bank, rows, generator, **options)  # type: ignore[arg-type]

    def pick(step: int) -> States:
        generator = run.generator(1, round_, step)
        if settings.states == "pool":
            states = pool.part(torch.randint(len(pool), (settings.batch,), generator=generator))
        else:
            rows = bank.draw(settings.batch, generator, first=(round_ * settings.steps + step) * settings.batch)
            with sampler():
                states = stopped_states(model, bank, rows, generator, **options)  # type: ignore[arg-type]
        if not settings.within_bin:
            return states
        return replace(states, t=within_bin(states.t, settings.sampler_steps, model.path.steps, generator))

    return pick


@torch.no_grad()
def forgetting_set(
    model: Model, bank: PromptBank, rows: Tensor, generator: Generator, *, steps: int, guidance_scale: float
) -> Tensor:
    """Latents of pictures that the model makes for each prompt, (rows, c, h, w): MiM-MU's forgetting set."""
    seeds = torch.cat([torch.randint(2**31, (len(part),), generator=generator) for part in rows.split(model.batch(64))])
    return model.latents(
        bank.conditioned[rows], seeds.tolist(), batch=model.batch(64), steps=steps, guidance_scale=guidance_scale,
        unconditional=bank.empty,
    )  # fmt: skip


def from_noise(model: Model, states: States, generator: Generator) -> States:
    """The same states after one of pure noise for every picture, at the model's last timestep and of the picture's prompt."""
    picture, which = states.picture.unique(return_inverse=True)
    row = torch.zeros_like(picture).scatter(0, which, states.row)
    noise = torch.randn(len(picture), *states.latents.shape[1:], generator=generator).to(states.latents)
    start = States(noise, torch.full_like(picture, model.path.last).to(states.t), row, picture)
    return States(*(torch.cat([getattr(part, f.name) for part in (start, states)]) for f in fields(States)))


def forward_states(model: Model, latents: Tensor, rows: Tensor, per_picture: int, generator: Generator) -> States:
    """Noised pictures: each of `latents` (n, c, h, w) at `per_picture` timesteps, stratified over the schedule.

    The noise of a picture grows step by step, so that its states are one run of the noising process; each alone is alpha x + sigma e.
    """
    path, visited = model.path, list[Tensor]()
    slots = torch.rand(per_picture, len(latents), generator=generator) + torch.arange(per_picture).view(-1, 1)
    timesteps = (slots / per_picture * path.steps).long().clamp(max=path.steps - 1)
    for index, t in enumerate(timesteps):
        noise = torch.randn(latents.shape, generator=generator).to(latents.device, latents.dtype)
        if visited:
            keep, add = (per_row(factor, latents) for factor in path.onwards(timesteps[index - 1], t))
            visited.append(keep * visited[-1] + add * noise)
        else:
            visited.append(path.noised(latents, noise, t))
    pictures = torch.arange(len(latents)).repeat(per_picture)
    return States(torch.cat(visited), timesteps.flatten(), rows.repeat(per_picture), pictures)
