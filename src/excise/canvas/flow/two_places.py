"""The judge of two places: what a picture shows left, right, or alone in the middle."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor

from excise.canvas.catalog import OBJECT_NAMES, STYLE_NAMES
from excise.canvas.flow import wide_data
from excise.canvas.flow.things import NOTHING, THING_OBJECT
from excise.canvas.judge import train_on
from excise.canvas.train_loop import CPU

FILE = "places.safetensors"
ANSWERS = [*OBJECT_NAMES, "other", "nothing"]
HEADS = {"left": ANSWERS, "middle": ANSWERS, "right": ANSWERS}
"""Of two things, one is left and one is right, and nothing is in the middle; of one thing, nothing is left or right."""

ALONE, EMPTY = 0.25, 0.15
"""Share of pictures of one thing, and of two places of which one is empty (ours)."""


def draw(count: int, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Random pictures and what is in each of their places."""
    left, right = wide_data.draw_things(count, generator), wide_data.draw_things(count, generator)
    chance = torch.rand(count, generator=generator)
    alone, no_left = chance < ALONE, (chance >= ALONE) & (chance < ALONE + EMPTY / 2)
    no_right = (chance >= ALONE + EMPTY / 2) & (chance < ALONE + EMPTY)
    left, right = torch.where(no_left, NOTHING, left), torch.where(alone | no_right, NOTHING, right)
    style = torch.randint(len(STYLE_NAMES), (count,), generator=generator)
    pictures = wide_data.draw_pictures(left, right, style, generator, two=~alone)[0]
    return pictures, answers(left, right, alone)


def answers(left: Tensor, right: Tensor, alone: Tensor) -> dict[str, Tensor]:
    """The right answers for glyphs in two places, or for one in the middle where `alone`; (b,) int64 each."""
    objects = torch.tensor([*THING_OBJECT, len(OBJECT_NAMES) + 1])
    nothing = torch.full_like(left, len(OBJECT_NAMES) + 1)
    return {
        "left": torch.where(alone, nothing, objects[left]),
        "middle": torch.where(alone, objects[left], nothing),
        "right": torch.where(alone, nothing, objects[right]),
    }


def train_places(
    vae: AutoencoderKL, work: Path, *, steps: int, batch: int = 96, stop_after: float | None = None, device: torch.device = CPU
) -> bool:
    """Train and save to `work/places.safetensors`, as `judge.train_classifier` does. Returns whether all steps were done."""
    out = work / FILE
    return train_on(
        lambda generator: draw(batch, generator), HEADS, vae, out, steps=steps, stop_after=stop_after, device=device
    )
