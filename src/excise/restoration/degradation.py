"""How good pictures become low ones in training: blur, resizing, noise and JPEG, twice (Real-ESRGAN, arXiv 2107.10833, as StableSR uses it).

Everything is drawn anew for every picture from the generator that is passed in. The ranges are the paper's kinds at the scale of small
pictures: at 64 pixels its strongest settings leave nothing that could be recognised (`Ranges`).
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """What one of the two stages may do; the probabilities are StableSR's.

    blur_odds  how often it blurs; blur is the Gaussian's deviation along each axis, in pixels of what it gets
    resize     factor of the edge, and odds of growing, shrinking and staying
    gaussian   deviation of Gaussian noise, of 255; poisson its strength, photons being 255 / strength; either is drawn half of the time
    grey_odds  how often noise is the same in all colours
    jpeg       quality
    """

    blur_odds: float
    blur: Range
    resize: Range
    resize_odds: tuple[float, float, float]
    gaussian: Range
    poisson: Range
    jpeg: Range
    grey_odds: float = 0.4


FIRST = Ranges(1.0, (0.2, 1.5), (0.5, 1.5), (0.2, 0.7, 0.1), (1, 10), (0.05, 1.0), (70, 95))
"""The first stage (ours; StableSR: blur to 3, resizing from 0.3 to 1.5, noise to 15 and 2, quality 60 to 95)."""

SECOND = Ranges(0.5, (0.2, 0.8), (0.8, 1.2), (0.3, 0.4, 0.3), (1, 6), (0.05, 0.5), (75, 100))
"""The second stage, around the small size (ours; StableSR: blur to 1.5, resizing from 0.6 to 1.2, noise to 12 and 1, quality 60 to 100)."""


@dataclass(frozen=True)
class Degradation:
    """Both stages, how often a sinc filter rings at the end, and how often a picture is only made smaller (ours: 0.1, paper: 0.01)."""

    first: Ranges = field(default_factory=lambda: FIRST)
    second: Ranges = field(default_factory=lambda: SECOND)
    sinc_odds: float = 0.8
    plain_odds: float = 0.1


PLAIN = Degradation(plain_odds=1.0)
"""Pictures are only made smaller."""


def degrade(pictures: Tensor, generator: Generator, scale: int = 4, how: Degradation | None = None) -> Tensor:
    """Low pictures at the size of the good ones, (b, 3, h, w) in 0–1: `shrink`, then `enlarge`."""
    return enlarge(shrink(pictures, generator, scale, how), scale)


def shrink(pictures: Tensor, generator: Generator, scale: int = 4, how: Degradation | None = None) -> Tensor:
    """Small low pictures, (b, 3, h / scale, w / scale) in 0–1, on the CPU, in steps of 1/255 as a file would hold them.

    pictures (b, 3, h, w) in 0–1
    how      default StableSR's kinds at the scale of small pictures

    Raises ValueError if the scale does not divide the pictures' edges.
    """
    if pictures.shape[-1] % scale or pictures.shape[-2] % scale:
        raise ValueError(
            f"pictures of {pictures.shape[-1]}x{pictures.shape[-2]} pixels are not {scale} times as large as small ones"
        )
    how = how or Degradation()
    return torch.cat([_shrunk(picture[None].float().cpu(), generator, scale, how) for picture in pictures])


def enlarge(small: Tensor, scale: int = 4) -> Tensor:
    """Small pictures (b, 3, h, w) at `scale` times their size, bicubic, within 0–1."""
    return F.interpolate(small, scale_factor=float(scale), mode="bicubic").clamp(0, 1)


def _shrunk(picture: Tensor, generator: Generator, scale: int, how: Degradation) -> Tensor:
    small = (picture.shape[-2] // scale, picture.shape[-1] // scale)
    if _chance(generator, how.plain_odds):
        return _rounded(_resized(picture, small, "bicubic"))
    low = _stage(picture, picture.shape[-2:], how.first, generator)
    low = _jpeg(low, how.first.jpeg, generator)
    low = _stage(low, small, how.second, generator)
    if _chance(generator, 0.5):  # the filter before the compression or after it, as in Real-ESRGAN
        low = _jpeg(_ringing(_resized(low, small, _kind(generator)), how, generator), how.second.jpeg, generator)
    else:
        low = _ringing(_resized(_jpeg(low, how.second.jpeg, generator), small, _kind(generator)), how, generator)
    return _rounded(low)


def _stage(low: Tensor, size: tuple[int, ...], ranges: Ranges, generator: Generator) -> Tensor:
    """Blur, a random size around `size`, noise."""
    if _chance(generator, ranges.blur_odds):
        low = _blurred(low, ranges.blur, generator)
    grows, shrinks, _ = ranges.resize_odds
    draw, factor = _uniform(generator, (0, 1)), 1.0
    if draw < grows:
        factor = _uniform(generator, (1, max(1, ranges.resize[1])))
    elif draw < grows + shrinks:
        factor = _uniform(generator, (ranges.resize[0], 1))
    low = _resized(low, tuple(max(4, round(edge * factor)) for edge in size), _kind(generator))
    return _noisy(low, ranges, generator).clamp(0, 1)


def _blurred(low: Tensor, deviation: Range, generator: Generator) -> Tensor:
    """A Gaussian with its own deviation along each of two axes that are turned at random."""
    long, across = _uniform(generator, deviation), _uniform(generator, deviation)
    turn = _uniform(generator, (0, math.pi))
    y, x = _grid(math.ceil(2.5 * max(long, across)))
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return _filtered(low, torch.exp(-0.5 * ((u / long) ** 2 + (v / across) ** 2)))


def _ringing(low: Tensor, how: Degradation, generator: Generator) -> Tensor:
    """A round low-pass filter that overshoots at edges (2-D sinc), cutting between half of the highest frequency and all of it."""
    if not _chance(generator, how.sinc_odds):
        return low
    cut = _uniform(generator, (math.pi / 2, math.pi))
    y, x = _grid(3)
    radius = (x**2 + y**2).sqrt().clamp_min(1e-6)
    kernel = cut * torch.special.bessel_j1(cut * radius) / (2 * math.pi * radius)
    kernel[3, 3] = cut**2 / (4 * math.pi)
    return _filtered(low, kernel).clamp(0, 1)


def _noisy(low: Tensor, ranges: Ranges, generator: Generator) -> Tensor:
    gaussian, grey = _chance(generator, 0.5), _chance(generator, ranges.grey_odds)
    if gaussian:
        noise = torch.randn((1, 1 if grey else 3, *low.shape[-2:]), generator=generator)
        return low + noise * _uniform(generator, ranges.gaussian) / 255
    photons = 255 / _uniform(generator, ranges.poisson)
    light = low.mean(1, keepdim=True) if grey else low
    return low + torch.poisson(light.clamp(0, 1) * photons, generator=generator) / photons - light


def _jpeg(low: Tensor, quality: Range, generator: Generator) -> Tensor:
    """Through a JPEG file without chroma subsampling: a block of it would be all of a small picture."""
    pixels = (low[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=round(_uniform(generator, quality)), subsampling=0)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 255


def _resized(low: Tensor, size: tuple[int, ...], kind: str) -> Tensor:
    if tuple(low.shape[-2:]) == tuple(size):
        return low
    if kind == "area":
        return F.interpolate(low, size=size, mode="area")
    return F.interpolate(low, size=size, mode=kind, antialias=True).clamp(0, 1)


def _filtered(low: Tensor, kernel: Tensor) -> Tensor:
    edge = kernel.shape[0] // 2
    weight = (kernel / kernel.sum()).expand(low.shape[1], 1, *kernel.shape)
    return F.conv2d(F.pad(low, (edge,) * 4, mode="replicate"), weight, groups=low.shape[1])


def _grid(edge: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(-edge, edge + 1, dtype=torch.float32)
    return axis[:, None].expand(-1, len(axis)), axis[None, :].expand(len(axis), -1)


def _rounded(low: Tensor) -> Tensor:
    return (low.clamp(0, 1) * 255).round() / 255


def _kind(generator: Generator) -> str:
    return ("area", "bilinear", "bicubic")[int(torch.randint(3, (1,), generator=generator))]


def _chance(generator: Generator, odds: float) -> bool:
    return _uniform(generator, (0, 1)) < odds


def _uniform(generator: Generator, bounds: Range) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand(1, generator=generator))
