"""Picture files of strangers: what is opened, and how. No torch here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from excise import bounds
from excise.digests import digest_bytes
from excise.files.read import open_regular, read_bytes

FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats that are opened, whatever a file is called. Others can start programs (EPS starts Ghostscript) or have readers that few use."""

MOST_PIXELS = 2**26
"""Pixels of the largest picture that is opened (ours): 8192 x 8192, 256 MiB once it is unpacked."""


def digest_picture(file: Path) -> str:
    """Of a picture's file, whatever is in it. Raises ValueError for one that is no regular file or of more than `bounds.PICTURE_BYTES`."""
    return digest_bytes(read_bytes(file, bounds.PICTURE_BYTES))


def open_picture(file: Path) -> Image.Image:
    """A picture file as 8-bit RGB, upright as its EXIF orientation says.

    Raises ValueError if it is not whole, of another format than `FORMATS`, or of more than `MOST_PIXELS`.
    """
    try:
        with open_regular(file) as opened, Image.open(opened, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels, more than {MOST_PIXELS}")
            upright = ImageOps.exif_transpose(picture)
            return (_eight_bits(upright) if upright.mode.startswith("I") else upright).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        known = ", ".join(FORMATS)
        why = f"it is no {known} file" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{file} is not a picture that can be read ({why})") from None


def _eight_bits(grey: Image.Image) -> Image.Image:
    """A grey picture of 16 bits; a plain conversion would cut all above 255 off instead of scaling."""
    return Image.fromarray((np.asarray(grey).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
