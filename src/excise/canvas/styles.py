"""The eight styles as image filters on a batch of placed glyphs.

Every filter maps a `Scene` to pictures (b, 3, s, s) in 0–1. All randomness comes from the generator passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from excise.canvas.catalog import STYLE_NAMES


@dataclass(frozen=True)
class Scene:
    """Placed glyphs before any style.

    glyph  (b, 3, s, s)  colour premultiplied by alpha, 0–1
    alpha  (b, 1, s, s)  coverage, 0–1
    ground (b, 3, s, s)  a soft background, 0–1
    """

    glyph: Tensor
    alpha: Tensor
    ground: Tensor

    def over(self, ground: Tensor) -> Tensor:
        """The glyph on another ground, (b, 3, s, s)."""
        return self.glyph + (1 - self.alpha) * ground


def _rand(shape: tuple[int, ...], generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _colour(*rgb: float) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (b, c, h, w), edges replicated; sigma in pixels."""
    radius = max(1, round(2.5 * sigma))
    kernel = torch.exp(-(torch.arange(-radius, radius + 1, device=x.device) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, -1).repeat(x.shape[1], 1, 1)
    x = F.pad(x, (radius,) * 4, mode="replicate")
    x = F.conv2d(x, kernel.unsqueeze(2), groups=x.shape[1])
    return F.conv2d(x, kernel.unsqueeze(3), groups=x.shape[1])


def luminance(x: Tensor) -> Tensor:
    """Rec. 601 luma of (b, 3, h, w), (b, 1, h, w)."""
    return (x * _colour(0.299, 0.587, 0.114)).sum(1, keepdim=True)


def edges(scene: Scene) -> Tensor:
    """Strength of outlines and inner lines, (b, 1, s, s) in 0–1: Sobel over colour and coverage."""
    planes = torch.cat([scene.over(torch.full_like(scene.ground, 0.5)), scene.alpha], 1)
    sobel = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 4
    kernel = torch.stack([sobel, sobel.T]).unsqueeze(1).repeat(planes.shape[1], 1, 1, 1)
    gradient = F.conv2d(F.pad(planes, (1,) * 4, mode="replicate"), kernel, groups=planes.shape[1])
    strength = gradient.unflatten(1, (-1, 2)).square().sum(2).sqrt().amax(1, keepdim=True)
    return (1.6 * strength).clamp(0, 1)


def _cells(x: Tensor, size: int) -> Tensor:
    return F.interpolate(F.avg_pool2d(x, size), scale_factor=size, mode="nearest")


def photo(scene: Scene, generator: Generator) -> Tensor:
    shadow = blur(torch.roll(scene.alpha, (3, 2), (2, 3)), 2.5)
    return scene.over(scene.ground * (1 - 0.45 * shadow))


def sketch(scene: Scene, generator: Generator) -> Tensor:
    paper = _colour(0.97, 0.96, 0.94)
    lines = edges(scene)
    shade = (1 - luminance(scene.over(torch.ones_like(scene.ground)))) * 0.55
    s = scene.alpha.shape[-1]
    y, x = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij")
    hatch = ((x + y) % 4 < 2).float()
    ink = (0.85 * lines + shade * (0.35 + 0.65 * hatch)).clamp(0, 0.9)
    grain = _rand((scene.alpha.shape[0], 1, s, s), generator, -0.02, 0.02)
    return paper * (1 - ink) + 0.15 * ink + grain


def pixel_art(scene: Scene, generator: Generator) -> Tensor:
    flat = scene.ground.mean((2, 3), keepdim=True).expand_as(scene.ground)
    return (_cells(scene.over(flat), 4) * 5).round() / 5


def neon(scene: Scene, generator: Generator) -> Tensor:
    lines = edges(scene)
    own = scene.glyph / scene.glyph.amax(1, keepdim=True).clamp_min(0.15)
    tint = torch.where(scene.alpha > 0.3, own, torch.zeros_like(own))
    glow = blur(tint * lines, 1.0) * 1.2 + blur(tint * lines, 3.0) * 1.1
    return _colour(0.03, 0.02, 0.08) + glow + 0.35 * lines * (0.3 + tint) + 0.12 * scene.glyph


def watercolor(scene: Scene, generator: Generator) -> Tensor:
    b, _, s, _ = scene.glyph.shape
    wash = F.interpolate(_rand((b, 1, 8, 8), generator), size=(s, s), mode="bicubic").clamp(0, 1)
    mask = blur(scene.alpha, 1.2)
    soft = blur(scene.over(torch.ones_like(scene.ground)), 1.1)
    rim = (mask * (1 - mask) * 4) ** 2
    paint = soft + (1 - soft) * (0.12 + 0.38 * wash)
    pale = 0.94 + 0.06 * scene.ground
    bleed = pale - 0.16 * (1 - blur(scene.over(torch.ones_like(scene.ground)), 5.0))
    return (mask * paint + (1 - mask) * bleed) * (1 - 0.22 * rim)


def sepia(scene: Scene, generator: Generator) -> Tensor:
    s = scene.alpha.shape[-1]
    tone = luminance(photo(scene, generator))
    axis = torch.linspace(-1, 1, s)
    vignette = 1 - 0.35 * (axis.view(-1, 1) ** 2 + axis.view(1, -1) ** 2) / 2
    grain = _rand((scene.alpha.shape[0], 1, s, s), generator, -0.03, 0.03)
    return ((0.12 + 0.88 * tone) * vignette + grain) * _colour(1.0, 0.82, 0.58)


def blueprint(scene: Scene, generator: Generator) -> Tensor:
    s = scene.alpha.shape[-1]
    axis = (torch.arange(s) % 8 == 4).float()
    grid = torch.maximum(axis.view(-1, 1), axis.view(1, -1))
    inside = 0.10 * luminance(scene.glyph)
    ink = (edges(scene) + inside + 0.13 * grid).clamp(0, 1)
    return _colour(0.08, 0.25, 0.62) * (1 - ink) + _colour(0.92, 0.96, 1.0) * ink


def mosaic(scene: Scene, generator: Generator) -> Tensor:
    s = scene.alpha.shape[-1]
    tiles = _cells(photo(scene, generator), 4)
    b = scene.alpha.shape[0]
    shade = F.interpolate(_rand((b, 1, s // 4, s // 4), generator, 0.86, 1.14), scale_factor=4, mode="nearest")
    gap = (torch.arange(s) % 4 == 3).float()
    grout = torch.maximum(gap.view(-1, 1), gap.view(1, -1))
    return tiles * shade * (1 - grout) + grout * _colour(0.32, 0.30, 0.28)


FILTERS: dict[str, Callable[[Scene, Generator], Tensor]] = {
    "photo": photo,
    "sketch": sketch,
    "pixel art": pixel_art,
    "neon": neon,
    "watercolor": watercolor,
    "sepia": sepia,
    "blueprint": blueprint,
    "mosaic": mosaic,
}
assert tuple(FILTERS) == STYLE_NAMES


def stylise(scene: Scene, styles: Tensor, generator: Generator) -> Tensor:
    """Give every picture its style.

    styles (b,) int64, indices into `STYLE_NAMES`. Returns (b, 3, s, s) float32 in 0–1.
    """
    pictures = torch.empty_like(scene.ground)
    for index, draw in enumerate(FILTERS.values()):
        rows = (styles == index).nonzero().squeeze(1)
        if len(rows):
            pictures[rows] = draw(Scene(scene.glyph[rows], scene.alpha[rows], scene.ground[rows]), generator)
    return pictures.clamp(0, 1)
