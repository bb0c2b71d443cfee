"""A small picture classifier with several heads, described by its own file: the judge that a model folder may carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excise.digests import digest_tensors, digest_values
from excise.files import FLOATS, check_shapes, read_tensors, reading, write_tensors

FEATURES = 192


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1)
        self.norm2 = nn.GroupNorm(8, outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.skip = nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Classifier(nn.Module):
    """A residual network with one linear head per question.

    heads  question -> class names in order, e.g. {"object": [..., "other"], "style": [...], "member": [...]}
    size   edge of the pictures it takes, in pixels

    `forward` takes pictures (b, 3, size, size) float in 0–1 and returns {question: logits (b, classes)}; `features` returns the
    (b, 192) layer before the heads, for FID and KID.
    """

    def __init__(self, heads: Mapping[str, list[str]], size: int = 64) -> None:
        super().__init__()
        self.names = {question: list(names) for question, names in heads.items()}
        self.size = size
        self.num_features = FEATURES
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.Sequential(
            _Block(32, 48, 1), _Block(48, 96, 2), _Block(96, FEATURES, 2), _Block(FEATURES, FEATURES, 1)
        )
        self.norm = nn.GroupNorm(8, FEATURES)
        self.flat = nn.Linear(FEATURES * 16, FEATURES)
        self.heads = nn.ModuleDict({question: nn.Linear(FEATURES, len(names)) for question, names in self.names.items()})

    @property
    def identity(self) -> str:
        """SHA-256 of what decides its answers: weights, class names, size."""
        return digest_values([self.names, self.size, digest_tensors(self.state_dict())])

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What the stem and each block make of pictures, (b, c, h, w) each. Raises ValueError for pictures of another size."""
        if pictures.shape[-2:] != (self.size, self.size):
            found = "x".join(map(str, pictures.shape[:-3:-1]))
            raise ValueError(f"this classifier takes pictures of {self.size}x{self.size} pixels, got {found}")
        maps = [self.stem(pictures * 2 - 1)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps

    def features(self, pictures: Tensor) -> Tensor:
        """The layer before the heads, (b, 192). Raises ValueError for pictures of another size."""
        x = F.silu(self.norm(self.maps(pictures)[-1]))
        return F.silu(self.flat(F.adaptive_avg_pool2d(x, 4).flatten(1)))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.features(pictures)
        return {question: head(features) for question, head in self.heads.items()}

    def save(self, path: Path) -> None:
        """Write weights (half precision) and class names to one safetensors file."""
        tensors = {name: tensor.half() for name, tensor in self.state_dict().items()}
        write_tensors(path, tensors, {"classifier": json.dumps({"heads": self.names, "size": self.size})})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read a file that `save` wrote.

        Raises FileNotFoundError, or ValueError when the file is no classifier or a tensor is missing, foreign or of another shape.
        """
        tensors, metadata = read_tensors(path, FLOATS)
        if "classifier" not in metadata:
            raise ValueError(f"{path} is not a classifier file: its metadata has no 'classifier' entry")
        with reading(path):
            with torch.device("meta"):  # no initial weights, which would be large and drawn from the global generator
                model = cls(**json.loads(metadata["classifier"]))
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            check_shapes(path, shapes, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
            model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def classify(self, pictures: Tensor, batch: int = 128) -> dict[str, Tensor]:
        """The most likely class of every picture, {question: (n,) int64}; pictures (n, 3, size, size) in 0–1."""
        parts = [self(chunk) for chunk in pictures.split(batch)]
        return {question: torch.cat([part[question].argmax(1) for part in parts]) for question in self.names}
