"""Real pictures of the canvas in a folder: every retained object in every retained style, what an evaluation asks the model for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from excise.canvas.catalog import GLYPHS, MEMBERS, OBJECT_NAMES, STYLE_NAMES, check_names
from excise.canvas.data import draw_pictures
from excise.canvas.requests import check_new_folder
from excise.files import replacing_folder

BATCH = 64


def labels(count: int, without: Sequence[str] = (), seed: int = 0) -> tuple[Tensor, Tensor]:
    """(glyph, style) of `count` pictures, int64: pairs of object and style in turn, members of an object at random.

    without  objects, members and styles that none may show

    Raises ValueError for a name that the canvas does not have, or if nothing is left.
    """
    check_names(without, GLYPHS[: len(MEMBERS)])
    glyphs = {
        name: [i for i, (of, member) in enumerate(MEMBERS) if of == name and member not in without]
        for name in OBJECT_NAMES
        if name not in without
    }
    pairs = [(own, s) for s, style in enumerate(STYLE_NAMES) if style not in without for own in glyphs.values() if own]
    if not pairs:
        raise ValueError("nothing is left to draw")
    generator = torch.Generator().manual_seed(seed)
    chosen = [pairs[i % len(pairs)] for i in range(count)]
    picks = torch.rand(count, generator=generator).tolist()
    glyph = torch.tensor([own[int(pick * len(own))] for (own, _), pick in zip(chosen, picks, strict=True)])
    return glyph, torch.tensor([style for _, style in chosen])


def write(out: Path, count: int, without: Sequence[str], seed: int) -> None:
    """Draw `count` pictures into a new folder, a PNG each. Raises FileExistsError if it is there."""
    check_new_folder(out)
    glyph, style = labels(count, without, seed)
    generator = torch.Generator().manual_seed(seed)
    with replacing_folder(out, check_new_folder) as folder:
        for start in range(0, count, BATCH):
            rows = slice(start, start + BATCH)
            pictures = draw_pictures(glyph[rows], style[rows], generator).pictures
            for i, picture in enumerate(pictures, start):
                data = picture.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
                name = f"{i:05d}-{GLYPHS[int(glyph[i])]}-{STYLE_NAMES[int(style[i])].replace(' ', '_')}.png"
                Image.fromarray(data).save(folder / name)
