"""Pictures with labels: a glyph, placed, scaled, rotated and mirrored on a soft ground, then stylised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from excise.canvas import glyphs
from excise.canvas.catalog import EXTRAS, GLYPH_OBJECT, GLYPHS, MEMBERS, OBJECTS, STYLE_NAMES, check_names
from excise.canvas.styles import Scene, stylise

SIZE = 64
EXTRA_SHARE = 0.25
"""Share of pictures that show an extra (ours): the 20 objects keep 3.75 % of neutral pictures each."""


@dataclass(frozen=True)
class Batch:
    """Pictures (b, 3, 64, 64) float32 in 0–1, and labels (b,) int64: glyph, object (20 = other) and style."""

    pictures: Tensor
    glyph: Tensor
    object: Tensor
    style: Tensor


def draw_labels(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Random (glyph, style) labels, (count,) int64 each: objects equally often, members equally often within one."""
    object_ = torch.randint(len(OBJECTS), (count,), generator=generator)
    sizes = torch.tensor([len(item.members) for item in OBJECTS])
    first = sizes.cumsum(0) - sizes
    member = first[object_] + (torch.rand(count, generator=generator) * sizes[object_]).long()
    extra = len(MEMBERS) + torch.randint(len(EXTRAS), (count,), generator=generator)
    is_extra = torch.rand(count, generator=generator) < EXTRA_SHARE
    return torch.where(is_extra, extra, member), torch.randint(len(STYLE_NAMES), (count,), generator=generator)


def draw_pictures(glyph: Tensor, style: Tensor, generator: Generator) -> Batch:
    """Pictures for the given labels, (b,) int64 each; places, grounds and filters are random."""
    scene = _place(glyph, generator)
    return Batch(stylise(scene, style, generator), glyph, torch.tensor(GLYPH_OBJECT)[glyph], style)


def draw(count: int, generator: Generator) -> Batch:
    """`count` random pictures with their labels."""
    return draw_pictures(*draw_labels(count, generator), generator)


def _place(glyph: Tensor, generator: Generator) -> Scene:
    """Each glyph at a random place: 40–56 pixels wide, turned up to 14 degrees, mirrored half the time."""
    assert int(glyph.max()) < len(GLYPHS)
    b = len(glyph)
    rand = torch.rand(5, b, generator=generator)
    width = 40 + 16 * rand[0]
    angle = (2 * rand[1] - 1) * math.radians(14)
    mirror = torch.where(rand[2] < 0.5, -1.0, 1.0)
    room = (SIZE - width) / SIZE * 0.6
    dx, dy = (2 * rand[3] - 1) * room, (2 * rand[4] - 1) * room
    placed = put(glyphs.load()[glyph], width, angle, mirror, dx, dy)
    return Scene(placed[:, :3], placed[:, 3:], ground(b, generator))


def put(tiles: Tensor, width: Tensor, angle: Tensor, mirror: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Tiles (b, 4, TILE, TILE) on empty pictures, (b, 4, 64, 64): so many pixels wide, turned (radians), mirrored (-1) or not (1), and moved
    from the middle by so many half pictures; all (b,)."""
    b, scale = len(tiles), SIZE / width
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack(
        [
            torch.stack([mirror * cos, mirror * -sin, mirror * (-cos * dx + sin * dy)], 1),
            torch.stack([sin, cos, -sin * dx - cos * dy], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, [b, 4, 2 * SIZE, 2 * SIZE], align_corners=False)
    return F.avg_pool2d(F.grid_sample(tiles, grid, mode="bilinear", padding_mode="zeros", align_corners=False), 2)


def ground(count: int, generator: Generator) -> Tensor:
    """A soft two-colour gradient in a random direction, (count, 3, 64, 64)."""
    base = 0.55 + 0.4 * torch.rand(count, 3, 1, 1, generator=generator)
    drift = 0.3 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)
    turn = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=generator)
    axis = torch.linspace(-1, 1, SIZE)
    ramp = turn.cos() * axis.view(1, 1, 1, -1) + turn.sin() * axis.view(1, 1, -1, 1)
    return (base + drift * ramp).clamp(0, 1)


def showing_none_of(glyph: Tensor, style: Tensor, names: frozenset[str]) -> Tensor:
    """Rows whose labels show none of the named objects, members and styles, (rows,) int64.

    Raises ValueError for a name that the canvas does not have.
    """
    check_names(names, GLYPHS)
    out = [name in names or (i < len(MEMBERS) and MEMBERS[i][0] in names) for i, name in enumerate(GLYPHS)]
    keep = ~torch.tensor(out)[glyph] & ~torch.tensor([name in names for name in STYLE_NAMES])[style]
    return keep.nonzero().squeeze(1)
