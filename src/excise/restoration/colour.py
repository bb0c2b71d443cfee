"""The colours of a restored picture, set right by those of the low-quality one (arXiv 2305.07015, section 3.4): a prior shifts them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from excise.restoration.options import Colour

LEVELS = 5
"""Of the wavelet decomposition, as published: level i blurs over 2^(i + 1) pixels each way."""

TINY = 1e-5
"""Added to variances, as published: a channel may be one flat colour."""


def match_colour(pictures: Tensor, reference: Tensor, how: Colour) -> Tensor:
    """Pictures with the colours of others of the same size; both (b, 3, h, w) float in 0–1, and so is the result.

    how  "wavelet": coarse structures are the reference's, fine ones the picture's; "adain": each channel has the reference's mean and
         deviation over the picture; "none": pictures as they are
    """
    if how == "none":
        return pictures
    return (wavelet if how == "wavelet" else adain)(pictures, reference).clamp(0, 1)


def adain(pictures: Tensor, reference: Tensor) -> Tensor:
    """Each channel shifted and stretched to the reference's mean and deviation (arXiv 1703.06868, eq. 8); shapes as above, not clamped."""
    (mean, deviation), (wanted_mean, wanted) = _moments(pictures), _moments(reference)
    return (pictures - mean) / deviation * wanted + wanted_mean


def wavelet(pictures: Tensor, reference: Tensor) -> Tensor:
    """The pictures' fine structures on the reference's coarse ones; shapes as above, not clamped."""
    return pictures - coarse(pictures) + coarse(reference)


def coarse(pictures: Tensor) -> Tensor:
    """What is left of pictures (b, c, h, w) after `LEVELS` blurs, each twice as wide as the one before.

    The structures that the levels took away, one by one, add up to the picture less this.
    """
    line = torch.tensor([1.0, 2.0, 1.0], device=pictures.device, dtype=pictures.dtype) / 4
    kernel = torch.outer(line, line).expand(pictures.shape[1], 1, 3, 3)
    for level in range(LEVELS):
        step = 2**level
        framed = F.pad(pictures, (step,) * 4, mode="replicate")
        pictures = F.conv2d(framed, kernel, groups=pictures.shape[1], dilation=step)
    return pictures


def _moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (b, c, 1, 1)."""
    variance, mean = torch.var_mean(pictures, dim=(2, 3), keepdim=True)
    return mean, (variance + TINY).sqrt()
