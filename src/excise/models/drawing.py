"""How pictures are made, where that is not the model's own way (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Scheduler = Literal[
    "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "LMSDiscreteScheduler", "LCMScheduler", "TCDScheduler",
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler",
]  # fmt: skip
"""Classes of diffusers. Those whose name begins with FlowMatch sample straight paths, DPMSolver and UniPC also these, the others the paths
of diffusion alone."""

DIFFUSION_SAMPLERS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler")
STRAIGHT_SAMPLERS = ("FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler", "DPMSolverMultistepScheduler")
"""Samplers beside a model's own, by their diffusers classes: deterministic, adding noise, of higher order (ours: what users try)."""

HIGHER_ORDER: Scheduler = "DPMSolverMultistepScheduler"
"""Of higher order, so that few steps make a picture (arXiv 2211.01095). It takes both kinds of paths."""

ON_BOTH = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
"""Those that sample straight paths and the paths of diffusion."""

Offload = Literal["none", "model", "group"]
"""Where networks lie that no edit changes: on the device; on it while they work; on it layer by layer while they work."""

SCHEDULERS: tuple[Scheduler, ...] = get_args(Scheduler)

LongPrompts = Literal["cut", "chunk"]
"""What becomes of a prompt that is longer than the text encoder's context: its end is not read, or it is read in chunks of the context, as
A1111 and ComfyUI do."""


@dataclass(frozen=True)
class Drawing:
    """Each None is the model's own.

    steps          of the sampler
    guidance_scale as the model's users mean it
    size           edge of a picture in pixels
    scheduler      a sampler's class
    long_prompts   how prompts longer than the context are read; every model's own way is to cut them
    """

    steps: int | None = None
    guidance_scale: float | None = None
    size: int | None = None
    scheduler: Scheduler | None = None
    long_prompts: LongPrompts | None = None


def other_samplers(straight: bool) -> tuple[str, ...]:
    """Samplers beside its own that go along a model's path."""
    return STRAIGHT_SAMPLERS if straight else DIFFUSION_SAMPLERS


def check_samples(scheduler: Scheduler, straight: bool) -> None:
    """Raise ValueError for a sampler of other paths than a model's."""
    if scheduler not in ON_BOTH and scheduler.startswith("FlowMatch") != straight:
        raise of_other_paths(scheduler, straight)


def of_other_paths(scheduler: str, straight: bool) -> ValueError:
    """The error for a sampler of other paths than a model's."""
    path = "straight paths" if straight else "paths of diffusion"
    able = ", ".join(other_samplers(straight))
    return ValueError(f"{scheduler} does not sample {path}, as this model needs; those that do: {able}")


AS_IT_DOES = Drawing()
"""The model's own way."""
