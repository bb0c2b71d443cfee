"""The layers that a restorer is made of, in plain torch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


class Residual(nn.Module):
    """x + f(x), f being two 3 x 3 convolutions after group norms; `times` channels of a time embedding are added between them, if any."""

    def __init__(self, inside: int, outside: int, times: int = 0) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inside), conv(inside, outside)
        self.time = nn.Linear(times, outside) if times else None
        self.norm2, self.conv2 = norm(outside), conv(outside, outside)
        self.skip = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None and time is not None:
            h = h + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """x + self-attention between the pixels of a map."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.ask, self.give = norm(width), nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.ask(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(3, 4).unbind(1)
        found = F.scaled_dot_product_attention(query, key, value)
        return x + self.give(found.transpose(2, 3).reshape(x.shape))


class DenseBlock(nn.Module):
    """A residual dense block (arXiv 1809.00219): five convolutions that each read all that came before; a fifth of the last is added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outside = [growth] * 4 + [width]
        self.convs = nn.ModuleList(conv(width + number * growth, out) for number, out in enumerate(outside))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.convs:
            found.append(layer(torch.cat(found, 1)))
            if len(found) < 6:
                found[-1] = F.leaky_relu(found[-1], 0.2)
        return x + 0.2 * found[-1]


class DenseInDense(nn.Module):
    """Three residual dense blocks inside a residual (RRDB, arXiv 1809.00219)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.blocks(x)


def conv(inside: int, outside: int) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size."""
    return nn.Conv2d(inside, outside, 3, padding=1)


def norm(width: int) -> nn.GroupNorm:
    """A group norm of about eight channels a group (ours), 32 groups of 256."""
    return nn.GroupNorm(math.gcd(width, max(1, width // 8)), width)


def time_waves(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of timesteps (b,), (b, width) float32 (arXiv 1706.03762, as diffusion models have them)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


@torch.no_grad()
def draw_weights(network: nn.Module, generator: Generator) -> None:
    """Give every layer its first weights: convolutions and linear maps uniform within 1 / sqrt(inputs), biases zero, norms one and zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            layer.weight.copy_(bound * (2 * torch.rand(layer.weight.shape, generator=generator) - 1))
            assert layer.bias is not None
            layer.bias.zero_()
        elif isinstance(layer, nn.GroupNorm):
            layer.weight.fill_(1)
            layer.bias.zero_()


@torch.no_grad()
def silence(layer: nn.Conv2d) -> None:
    """Let a convolution give zeros, until it learns otherwise."""
    layer.weight.zero_()
    assert layer.bias is not None
    layer.bias.zero_()
