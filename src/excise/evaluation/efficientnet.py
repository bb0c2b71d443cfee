"""EfficientNet-Lite0, a published network that was trained on ImageNet's photographs: the body of a judge that shares nothing with a model.

The architecture is EfficientNet-B0's (arXiv:1905.11946, table 1) without squeeze and excitation and with ReLU6, as TensorFlow's
models/official/efficientnet/lite describes it. The weights are the user's file, see `excise.evaluation.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excise.evaluation.state_files import load_state
from excise.evaluation.weights import FoundWeights
from excise.files import check_shapes

CLASSES = 1000
WIDTH = 1280
"""Channels of the last map, which ImageNet's classes are told from."""


@dataclass(frozen=True)
class Stage:
    """Like blocks: channels inside are `expand` times those that come in; the first block has the stride."""

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STEM = 32
STAGES = (
    Stage(1, 16, 1, 1, 3), Stage(6, 24, 2, 2, 3), Stage(6, 40, 2, 2, 5), Stage(6, 80, 3, 2, 3), Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5), Stage(6, 320, 1, 1, 3),
)  # fmt: skip


class _Convolution(nn.Conv2d):
    """Without bias, padded as TensorFlow's "same": what does not divide evenly goes to the right and below."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        below, beside = (max((-(-edge // stride) - 1) * stride + kernel - edge, 0) for edge in input.shape[-2:])
        padded = F.pad(input, (beside // 2, beside - beside // 2, below // 2, below - below // 2)) if below or beside else input
        return super().forward(padded)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _InvertedResidual(nn.Module):
    """Widen, look around in every channel alone, narrow; with a shortcut where the shape stays."""

    def __init__(self, inside: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = inside * stage.expand
        if stage.expand > 1:
            self.expand_conv, self.bn0 = _Convolution(inside, wide, 1), _norm(wide)
        self.depthwise_conv, self.bn1 = _Convolution(wide, wide, stage.kernel, stride, groups=wide), _norm(wide)
        self.project_conv, self.bn2 = _Convolution(wide, stage.channels, 1), _norm(stage.channels)
        self.expands, self.shortcut = stage.expand > 1, stride == 1 and inside == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        h = self.bn2(self.project_conv(F.relu6(self.bn1(self.depthwise_conv(h)))))
        return x + h if self.shortcut else h


class EfficientNetLite0(nn.Module):
    """`forward` takes pictures (b, 3, h, w), float in 0–1 and returns ImageNet's logits (b, 1000); `maps` what each stage makes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = _Convolution(3, STEM, 3, 2), _norm(STEM)
        blocks, inside = [], STEM
        for stage in STAGES:
            for index in range(stage.blocks):
                blocks.append(_InvertedResidual(inside, stage, stage.stride if index == 0 else 1))
                inside = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head, self.bn1 = _Convolution(inside, WIDTH, 1), _norm(WIDTH)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The last block's output of every stage, and the last map of all: (b, c, h, w) each, c as in `STAGES`, then 1280."""
        x = F.relu6(self.bn0(self.conv_stem((pictures * 255 - 127) / 128)))  # the published mean and deviation of its inputs
        maps, blocks = [], iter(self.blocks)
        for stage in STAGES:
            for _ in range(stage.blocks):
                x = next(blocks)(x)
            maps.append(x)
        return [*maps, F.relu6(self.bn1(self.conv_head(x)))]

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.maps(pictures)[-1].mean((2, 3)))

    @classmethod
    def load(cls, found: FoundWeights) -> EfficientNetLite0:
        """With the published weights. Raises ValueError for a file with other tensors than these, or with anything but tensors."""
        tensors = {
            name.replace("._", ".").removeprefix("_"): each
            for name, each in load_state(found.path, "EfficientNet-Lite0").items()
        }
        with torch.device("meta"):  # no initial weights, which would be drawn from the global generator
            network = cls()
        expected = {name: tuple(each.shape) for name, each in network.state_dict().items()}
        check_shapes(found.path, {name: tuple(each.shape) for name, each in tensors.items()}, expected)
        if bad := next((name for name, each in tensors.items() if not each.isfinite().all()), None):
            raise ValueError(f"{found.path}: {bad} has values that are not finite (NaN or infinity)")
        kernels = {
            name: each.contiguous(memory_format=torch.channels_last) for name, each in tensors.items() if each.dim() == 4
        }
        network.load_state_dict({**tensors, **kernels}, assign=True)  # pixel by pixel: 1.5 to 2 times as fast on CPUs
        return network.eval().requires_grad_(False)
