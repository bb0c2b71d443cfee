"""The glyph sheet: one row-major grid of RGBA tiles, in the order of `catalog.GLYPHS`.

`render` draws it from the font once; the sheet ships as `glyphs.png`, so nobody needs the font to train or test. The further things of the wide
canvas have a sheet of their own, `flow/things.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from excise.canvas.catalog import EMOJI

TILE = 72
"""Edge of a tile in pixels: larger than any placed glyph, so placing only ever shrinks."""

COLUMNS = 12
SHEET = Path(__file__).with_name("glyphs.png")
_STRIKE = 109
"""The one bitmap size that Noto Color Emoji carries."""


def render(font: Path, every: Sequence[str] = EMOJI) -> Image.Image:
    """Draw a sheet of emoji from the Noto Color Emoji font file; each glyph is cropped to its ink and centred."""
    face = ImageFont.truetype(str(font), _STRIKE, layout_engine=ImageFont.Layout.RAQM)
    rows = -(-len(every) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
    for index, emoji in enumerate(every):
        glyph = Image.new("RGBA", (3 * _STRIKE, 3 * _STRIKE))
        ImageDraw.Draw(glyph).text((_STRIKE, _STRIKE), emoji, font=face, embedded_color=True)
        box = glyph.getbbox()
        if box is None:
            raise ValueError(f"the font draws nothing for {emoji!r}")
        glyph = glyph.crop(box)
        glyph.thumbnail((TILE - 2, TILE - 2), Image.Resampling.LANCZOS)
        x = index % COLUMNS * TILE + (TILE - glyph.width) // 2
        y = index // COLUMNS * TILE + (TILE - glyph.height) // 2
        sheet.paste(glyph, (x, y))
    return sheet


def in_32_levels(sheet: Image.Image) -> Image.Image:
    """The sheet in 32 levels a channel, which halves its file; what is all but transparent is made so."""
    pixels = np.array(sheet)
    pixels[pixels[..., 3] < 8] = 0
    return Image.fromarray(((pixels >> 3).astype(float) * 255 / 31).round().astype(np.uint8))


@cache
def load() -> Tensor:
    """The canvas's glyphs, (glyphs, 4, TILE, TILE) float32 in 0–1, colour premultiplied by alpha (safe to resample)."""
    return tiles_of(SHEET, len(EMOJI))


def tiles_of(path: Path, count: int) -> Tensor:
    """The first `count` glyphs of a sheet, as `load` gives them."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGBA"))).float() / 255
    rows = pixels.shape[0] // TILE
    tiles = pixels.reshape(rows, TILE, COLUMNS, TILE, 4).permute(0, 2, 4, 1, 3).reshape(-1, 4, TILE, TILE)
    tiles = tiles[:count].clone()
    tiles[:, :3] *= tiles[:, 3:]
    return tiles
