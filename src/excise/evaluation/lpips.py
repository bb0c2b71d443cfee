"""LPIPS (arXiv:1801.03924, version 0.1) with AlexNet: how different two pictures look.

The network's weights are torchvision's ImageNet AlexNet, by path; the learned weights of its channels come with torchmetrics.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from excise.evaluation.state_files import load_state
from excise.evaluation.weights import FoundWeights

CONVOLUTIONS = {0: (4, 2, (64, 3, 11, 11)), 3: (1, 2, (192, 64, 5, 5)), 6: (1, 1, (384, 192, 3, 3)), 8: (1, 1, (256, 384, 3, 3)),
                10: (1, 1, (256, 256, 3, 3))}  # fmt: skip
"""Index in torchvision's `features` -> stride, padding, shape of the weight. A pooling goes before the second and the third."""

SMALLEST = 32
"""Edge of the smallest picture that AlexNet's poolings leave anything of, in pixels."""

SHIFT = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
SCALE = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)


class Lpips:
    """Distance of pictures; 0 is the same, and more is more different.

    Raises ValueError if a tensor of AlexNet is missing or of another shape.
    """

    def __init__(self, found: FoundWeights) -> None:
        state = load_state(found.path, "AlexNet")
        for index, (*_, shape) in CONVOLUTIONS.items():
            weight = state.get(f"features.{index}.weight")
            if weight is None or tuple(weight.shape) != shape or f"features.{index}.bias" not in state:
                size = "is missing" if weight is None else f"is {tuple(weight.shape)}"
                raise ValueError(f"{found.path} is not AlexNet: features.{index}.weight {size}, expected {shape}")
        self.state = state
        self.heads = [_heads()[f"lin{layer}.model.1.weight"] for layer in range(len(CONVOLUTIONS))]
        self.about: dict[str, Any] = {"lpips": "alex, 0.1", **found.to_dict()}

    @torch.no_grad()
    def __call__(self, one: Tensor, other: Tensor, batch: int = 64) -> Tensor:
        """Distances (n,) of pictures (n, 3, h, w), float 0–1. Raises ValueError for pictures of less than 32 pixels."""
        if min(one.shape[-2:]) < SMALLEST:
            raise ValueError(f"LPIPS needs pictures of at least {SMALLEST} pixels, got {one.shape[-1]}x{one.shape[-2]}")
        parts = [self._distance(a, b) for a, b in zip(one.split(batch), other.split(batch), strict=True)]
        return torch.cat(parts)

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        total = torch.zeros(len(one))
        for a, b, head in zip(self._layers(one), self._layers(other), self.heads, strict=True):
            total += F.conv2d((_unit(a) - _unit(b)) ** 2, head).mean((1, 2, 3))
        return total

    def _layers(self, pictures: Tensor) -> list[Tensor]:
        x = (2 * pictures - 1 - SHIFT) / SCALE
        layers = []
        for index, (stride, padding, _) in CONVOLUTIONS.items():
            if index in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = self.state[f"features.{index}.weight"], self.state[f"features.{index}.bias"]
            x = F.relu(F.conv2d(x, weight.float(), bias.float(), stride, padding))
            layers.append(x)
        return layers


def _unit(layer: Tensor) -> Tensor:
    """Every pixel's channels at length 1."""
    return layer / torch.sqrt(1e-8 + (layer**2).sum(1, keepdim=True))


def _heads() -> dict[str, Tensor]:
    """The learned weights of the channels, (1, channels, 1, 1) each."""
    with (files("torchmetrics") / "functional" / "image" / "lpips_models" / "alex.pth").open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)
