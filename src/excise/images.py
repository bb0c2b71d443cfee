"""Picture files and tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


def read_picture(file: Path, size: int) -> Tensor:
    """A picture file as (3, size, size) in 0–1, cropped to a square. Raises ValueError if it cannot be read."""
    try:
        with Image.open(file) as picture:
            square = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{file} is not a picture that can be read ({error})") from None
    return torch.from_numpy(np.asarray(square, dtype=np.float32) / 255).permute(2, 0, 1)


def to_image(picture: Tensor) -> Image.Image:
    """A picture (3, h, w) float 0–1 as 8-bit RGB."""
    return Image.fromarray(picture.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy())
