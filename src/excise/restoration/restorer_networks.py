"""The three networks of a restorer: time-aware encoder, modulation, controllable feature wrapping (arXiv 2305.07015, sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excise.restoration.layers import Attention, DenseInDense, Residual, conv, norm, silence, time_waves
from excise.restoration.restorer_settings import RestorerSettings

Maps = dict[tuple[int, int], Tensor]
"""What the encoder says of low latents, by (height, width) of the map."""


class TimeAwareEncoder(nn.Module):
    """The downward half and the middle of a U-Net that reads low latents and a timestep; it gives a map for each size in the denoiser.

    channels of the latents
    levels   sizes in the denoiser: one more than it halves its latents

    The maps of all levels but the last are those before they are halved, the last is what the middle makes.
    """

    def __init__(self, channels: int, levels: int, settings: RestorerSettings) -> None:
        super().__init__()
        widths = [settings.width * settings.multipliers[min(level, len(settings.multipliers) - 1)] for level in range(levels)]
        times = 4 * settings.width
        self.width = settings.width
        self.times = nn.Sequential(nn.Linear(settings.width, times), nn.SiLU(), nn.Linear(times, times))
        self.enter = conv(channels, widths[0])
        self.stages, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            inside = widths[max(0, level - 1)]
            self.stages.append(_stage([inside] + [width] * settings.blocks, times, settings.heads))
            if level < levels - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([*_stage([widths[-1]] * 2, times, settings.heads), Residual(widths[-1], widths[-1], times)])
        self.leave = nn.ModuleList(Residual(width, settings.features, times) for width in widths)

    def forward(self, low: Tensor, t: Tensor) -> Maps:
        """low (b, channels, h, w), t (b,) -> maps (b, features, h, w), (b, features, h/2, w/2), ... with odd sizes rounded up."""
        time = self.times(time_waves(t, self.width))
        h, found = self.enter(low), []
        for level, stage in enumerate(self.stages):
            h = _through(stage.children(), h, time)
            if level < len(self.shrink):
                found.append(h)
                h = self.shrink[level](h)
        found.append(_through(self.middle.children(), h, time))
        given = (leave(h, time) for leave, h in zip(self.leave, found, strict=True))
        return {(each.shape[2], each.shape[3]): each for each in given}


class Modulation(nn.Module):
    """h * (1 + gamma) + beta, where gamma and beta are read from the encoder's map; without a norm it changes nothing at first."""

    def __init__(self, width: int, settings: RestorerSettings) -> None:
        super().__init__()
        self.norm = norm(width) if settings.norm == "group" else nn.Identity()
        self.shared = conv(settings.features, settings.hidden)
        self.scale, self.shift = conv(settings.hidden, width), conv(settings.hidden, width)

    def silence(self) -> None:
        """Let it change nothing."""
        silence(self.scale)
        silence(self.shift)

    def forward(self, h: Tensor, read: Tensor) -> Tensor:
        read = F.relu(self.shared(read))
        return self.norm(h) * (1 + self.scale(read)) + self.shift(read)


class Wrapping(nn.Module):
    """decoded + w * f(encoded, decoded), for maps (b, width, h, w) of the autoencoder; f gives zeros at first (ours)."""

    def __init__(self, width: int, settings: RestorerSettings) -> None:
        super().__init__()
        dense = (DenseInDense(width, settings.growth) for _ in range(settings.dense))
        self.body = nn.Sequential(Residual(2 * width, width), *dense, Residual(width, width))
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, encoded: Tensor, decoded: Tensor, fidelity: float) -> Tensor:
        return decoded + fidelity * self.leave(self.body(torch.cat([encoded, decoded], 1)))


class RestorerNetworks(nn.Module):
    """All that is trained of a restorer.

    channels of the latents
    levels   sizes in the denoiser
    blocks   channels of what its residual blocks add, in order
    coders   channels of the autoencoder's maps by level
    """

    def __init__(
        self, channels: int, levels: int, blocks: Mapping[str, int], coders: Mapping[int, int], settings: RestorerSettings
    ) -> None:
        super().__init__()
        self.encoder = TimeAwareEncoder(channels, levels, settings)
        self.modulation = nn.ModuleList(Modulation(width, settings) for width in blocks.values())
        self.wrapping = nn.ModuleDict({str(level): Wrapping(coders[level], settings) for level in settings.levels})


def _stage(widths: list[int], times: int, heads: int) -> nn.ModuleList:
    """Residual blocks from each width to the next, each followed by attention unless there are no heads."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        layers.append(Residual(inside, outside, times))
        if heads:
            layers.append(Attention(outside, heads))
    return nn.ModuleList(layers)


def _through(layers: Iterable[nn.Module], h: Tensor, time: Tensor) -> Tensor:
    for layer in layers:
        h = layer(h, time) if isinstance(layer, Residual) else layer(h)
    return h
