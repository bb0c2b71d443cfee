"""Pictures as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from excise.files.pictures import open_picture


def read_picture(file: Path, size: int) -> Tensor:
    """A picture file as (3, size, size) in 0–1, cropped to a square. Raises what `open_picture` does."""
    return to_tensor(ImageOps.fit(open_picture(file), (size, size), Image.Resampling.BICUBIC))


def to_tensor(picture: Image.Image) -> Tensor:
    """8-bit RGB as (3, h, w) float32 in 0–1."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)


def to_image(picture: Tensor) -> Image.Image:
    """A picture (3, h, w) float 0–1 as 8-bit RGB."""
    return Image.fromarray(picture.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy())
