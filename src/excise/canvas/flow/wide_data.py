"""Pictures of one thing, or of two side by side, with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor

from excise.canvas import glyphs
from excise.canvas.catalog import GLYPHS, MEMBERS, OBJECTS, STYLE_NAMES
from excise.canvas.data import SIZE, ground, put
from excise.canvas.flow.things import FURTHER, NAMES, NOTHING
from excise.canvas.styles import Scene, stylise

SHEET = Path(__file__).with_name("things.png")
OTHER_SHARE = 0.45
"""Share of things that are never evaluated (ours): each of the 20 objects is 2.75 % of all."""

TWO_SHARE = 0.2
"""Share of pictures of two things."""

TWICE_SHARE = 0.1
"""Share of those that show one thing twice."""

SMALL, BIG = 45.0, 51.0
"""Width in pixels below and above which one thing is called small and big; it is drawn 40 to 56 wide."""


@dataclass(frozen=True)
class Labels:
    """What pictures show, (b,) int64 each.

    left  the one thing, or the left one of two
    right the right one; `NOTHING` where there is one
    size  of one thing: -1 small, 1 big, 0 between; of two 0
    style index of the style
    """

    left: Tensor
    right: Tensor
    size: Tensor
    style: Tensor

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: Tensor) -> Labels:
        return Labels(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


@cache
def tiles() -> Tensor:
    """All glyphs in the order of `NAMES`, then an empty one for `NOTHING`, as `glyphs.load` gives them."""
    own = glyphs.load()
    return torch.cat([own, glyphs.tiles_of(SHEET, len(FURTHER)), torch.zeros_like(own[:1])])


def draw_things(count: int, generator: Generator) -> Tensor:
    """Random glyphs, (count,) int64: objects equally often and their members, or any of the rest."""
    sizes = torch.tensor([len(item.members) for item in OBJECTS])
    object_ = torch.randint(len(OBJECTS), (count,), generator=generator)
    member = (sizes.cumsum(0) - sizes)[object_] + (torch.rand(count, generator=generator) * sizes[object_]).long()
    other = len(MEMBERS) + torch.randint(len(NAMES) - len(MEMBERS), (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < OTHER_SHARE, other, member)


def draw_labels(count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random things left and right, and styles, (count,) int64 each: two things in a fifth, or `NOTHING` right."""
    left, right = draw_things(count, generator), draw_things(count, generator)
    chance = torch.rand(2, count, generator=generator)
    right = torch.where(chance[1] < TWICE_SHARE, left, right)
    style = torch.randint(len(STYLE_NAMES), (count,), generator=generator)
    return left, torch.where(chance[0] < TWO_SHARE, right, NOTHING), style


def draw(count: int, generator: Generator) -> tuple[Tensor, Labels]:
    """`count` random pictures, (count, 3, 64, 64) float32 in 0–1, with their labels."""
    return draw_pictures(*draw_labels(count, generator), generator)


def draw_pictures(
    left: Tensor, right: Tensor, style: Tensor, generator: Generator, two: Tensor | None = None
) -> tuple[Tensor, Labels]:
    """Pictures of given things, (b,) int64 each; places, sizes, grounds and filters are random.

    two whether the left place is meant, or the middle; default where there is a right thing
    """
    two = right != NOTHING if two is None else two
    rand = torch.rand(5, len(left), generator=generator)
    width = torch.where(two, 26 + 5 * rand[0], 40 + 16 * rand[0])
    room = (SIZE - width) / SIZE * 0.6
    dx, dy = torch.where(two, -0.5 + 0.06 * (2 * rand[3] - 1), (2 * rand[3] - 1) * room), (2 * rand[4] - 1) * room
    placed = _put(left, width, rand[1], rand[2], dx, dy)
    if len(some := (right != NOTHING).nonzero().squeeze(1)):
        also = torch.rand(5, len(some), generator=generator)
        width_also = 26 + 5 * also[0]
        dx, dy = 0.5 + 0.06 * (2 * also[3] - 1), (2 * also[4] - 1) * (SIZE - width_also) / SIZE * 0.6
        placed[some] += _put(right[some], width_also, also[1], also[2], dx, dy) * (1 - placed[some, 3:])
    size = torch.where(two, 0, (width > BIG).long() - (width < SMALL).long())
    scene = Scene(placed[:, :3], placed[:, 3:], ground(len(left), generator))
    return stylise(scene, style, generator), Labels(left, right, size, style)


def _put(glyph: Tensor, width: Tensor, turn: Tensor, mirror: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    angle = (2 * turn - 1) * math.radians(14)
    return put(tiles()[glyph], width, angle, torch.where(mirror < 0.5, -1.0, 1.0), dx, dy)


def showing_none_of(labels: Labels, names: frozenset[str]) -> Tensor:
    """Rows whose pictures show none of the named objects, members, further glyphs of the canvas and styles, (rows,) int64."""
    own = [name in names or (i < len(MEMBERS) and MEMBERS[i][0] in names) for i, name in enumerate(GLYPHS)]
    shown = torch.tensor([*own, *([False] * (len(FURTHER) + 1))])
    styles = torch.tensor([name in names for name in STYLE_NAMES])
    return (~(shown[labels.left] | shown[labels.right] | styles[labels.style])).nonzero().squeeze(1)
