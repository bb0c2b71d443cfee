"""Pictures restored: a model's own sampler, from the noised low-quality picture on, with predictions that a restorer modulates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from excise import bounds
from excise.models import Model
from excise.models.tiling import WHOLE
from excise.progress import Progress, silent
from excise.restoration.colour import match_colour
from excise.restoration.options import COLOUR, FIDELITY, Colour
from excise.restoration.restorer import Restorer
from excise.restoration.tiles import count, in_tiles


@dataclass(frozen=True)
class Tiling:
    """Tiles in which the network is asked: their edge, and how much of it neighbours share, both in latents."""

    tile: int
    overlap: int

    @classmethod
    def of(cls, model: Model, tile: int | None, overlap: int | None) -> Tiling:
        """From pixels; default the model's own pictures as tiles, and half a tile of overlap, as published.

        Raises ValueError for what is no multiple of the autoencoder's grain, or an overlap that is not below the tile.
        """
        edge = model.sampler.size if tile is None else tile
        shared = edge // model.grain // 2 * model.grain if overlap is None else overlap
        for name, pixels in (("tile", edge), ("overlap", shared)):
            if pixels % model.grain:
                raise ValueError(f"{name}={pixels} must be a multiple of {model.grain} pixels, as {model.name} makes them")
        if not 0 <= shared < edge:
            raise ValueError(f"overlap={shared} must be below the tile's edge, {edge} pixels")
        return cls(edge // model.grain, shared // model.grain)

    def check(self, model: Model, height: int, width: int) -> None:
        """Raise ValueError if a picture of so many pixels has more tiles than `bounds.TILES`."""
        tall, wide = (-(-edge // model.grain) for edge in (height, width))
        tiles = count(tall, wide, self.tile, self.overlap)
        if tiles > bounds.TILES:
            raise ValueError(
                f"a picture of {width} x {height} pixels has {tiles:,} tiles, more than {bounds.TILES:,}; make tiles larger, or the "
                "overlap smaller"
            )


@torch.no_grad()
def restore(
    model: Model,
    restorer: Restorer,
    low: Tensor,
    *,
    steps: int | None = None,
    scheduler: Any = None,
    fidelity: float = FIDELITY,
    colour: Colour = COLOUR,
    tile: int | None = None,
    overlap: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Tensor:
    """Low-quality pictures restored by a model, edits that are on it included (StableSR, arXiv 2305.07015). Guidance is off.

    low        (b, 3, h, w) float in 0–1, resized to the size that the result shall have: any size
    steps      of the sampler; default the model's
    scheduler  a sampler's class in diffusers, by its name; default the model's
    fidelity   how much the decoder looks at `low`, 0–1; at 0 it is the model's own
    colour     how the colours of `low` are given back (`match_colour`)
    tile       edge of the tiles in pixels; default a picture of the model's own size; overlap: of neighbours, default half of it
    seed       of the first picture's noise; the next ones' count up
    progress   told every step of the sampler, as "steps"

    Returns (b, 3, h, w) float32 in 0–1 on the CPU. Raises ValueError for tiles that cannot be, FloatingPointError if anything is not finite.
    """
    tiling = Tiling.of(model, tile, overlap)
    tiling.check(model, *low.shape[-2:])
    framed = frame(low, model.sampler.size, model.grain)
    low_latents = model.encode_pictures(framed)
    seeds = [seed + number for number in range(len(low))]
    total, at_once, told = steps or model.sampler.steps, model.batch(32), model.unconditional()

    def output(x: Tensor, t: Tensor) -> Tensor:
        def predict(cut: Tensor, cut_low: Tensor) -> Tensor:
            return restorer.predict(cut, t[:1], cut_low, told)

        return in_tiles(predict, x, low_latents, tile=tiling.tile, overlap=tiling.overlap, batch=at_once)

    with model.sampled_by(scheduler):
        for state in model.walk(start(model, low_latents, seeds, steps), seeds, output, steps=steps):
            progress("steps", min(state.index, total), total)
    pictures = decode(restorer, state.latents, framed, fidelity)[..., : low.shape[-2], : low.shape[-1]]
    return match_colour(pictures, low.to(pictures), colour)


def frame(pictures: Tensor, least: int, grain: int) -> Tensor:
    """Pictures (b, 3, h, w) with their border repeated below and to the right, until the edges are multiples of `grain` and at least
    `least` pixels: what the network was trained on."""
    height, width = (max(least, -(-edge // grain) * grain) - edge for edge in pictures.shape[-2:])
    return F.pad(pictures, (0, width, 0, height), mode="replicate")


def start(model: Model, low_latents: Tensor, seeds: list[int], steps: int | None) -> Tensor:
    """What the sampler starts from: the low-quality picture's latents (b, c, h, w), noised to its first timestep."""
    size = tuple(edge * model.grain for edge in low_latents.shape[-2:])
    noise = model.start_noise(seeds, (size[0], size[1]))
    return model.partway(low_latents, noise, strength=1.0, steps=steps)[0]


def decode(restorer: Restorer, latents: Tensor, low: Tensor, fidelity: float) -> Tensor:
    """Finished latents (b, c, h, w) as pictures, float32 in 0–1 on the CPU; in tiles where they have more pixels than are decoded whole.

    low (b, 3, grain h, grain w) in 0–1
    """
    grain = restorer.model.grain
    tile = int(WHOLE**0.5) // grain

    def decoded(cut: Tensor, cut_low: Tensor) -> Tensor:
        return restorer.decode(cut, cut_low, fidelity)

    return in_tiles(decoded, latents, low, tile=tile, overlap=tile // 4, batch=1, grain=grain).clamp(0, 1)
