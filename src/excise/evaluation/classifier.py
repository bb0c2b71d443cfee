"""A small picture classifier with several heads, described by its own file: the judge that a model folder may carry.

It is a network of its own, or fitted layers on a published one that never saw the model's pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from excise.digests import digest_tensors, digest_values
from excise.evaluation.efficientnet import STAGES, WIDTH, EfficientNetLite0
from excise.evaluation.weights import find
from excise.files import FLOATS, check_shapes, read_tensors, reading, write_tensors

FEATURES = 192

NETWORK = "efficientnet-lite0"
TAPS = (2, 4, 6, 7)
"""Maps whose means over the picture are read: after the third, fifth and seventh stage, and the last (ours: textures too, for styles)."""

POOLED = sum((*(stage.channels for stage in STAGES), WIDTH)[tap] for tap in TAPS)
"""Numbers of a picture that the fitted part sees."""


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
        self._build()
        self.heads = nn.ModuleDict({question: nn.Linear(FEATURES, len(names)) for question, names in self.names.items()})

    def _build(self) -> None:
        """What is between pictures and heads."""
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.Sequential(
            _Block(32, 48, 1), _Block(48, 96, 2), _Block(96, FEATURES, 2), _Block(FEATURES, FEATURES, 1)
        )
        self.norm = nn.GroupNorm(8, FEATURES)
        self.flat = nn.Linear(FEATURES * 16, FEATURES)

    @property
    def identity(self) -> str:
        """SHA-256 of what decides its answers: weights, class names, size."""
        return digest_values([self.names, self.size, digest_tensors(self.state_dict())])

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What the stem and each block make of pictures, (b, c, h, w) each. Raises ValueError for pictures of another size."""
        self._check_size(pictures)
        maps = [self.stem(pictures * 2 - 1)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps

    def _check_size(self, pictures: Tensor) -> None:
        if pictures.shape[-2:] != (self.size, self.size):
            found = "x".join(map(str, pictures.shape[:-3:-1]))
            raise ValueError(f"this classifier takes pictures of {self.size}x{self.size} pixels, got {found}")

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
        """Read a file that `save` wrote; one that names a published body is a `BackedClassifier`, which finds that body.

        Raises FileNotFoundError, also if the body is not there, or ValueError when the file is no classifier or a tensor is missing,
        foreign or of another shape.
        """
        tensors, metadata = read_tensors(path, FLOATS)
        if "classifier" not in metadata:
            raise ValueError(f"{path} is not a classifier file: its metadata has no 'classifier' entry")
        with reading(path):
            described = json.loads(metadata["classifier"])
            kind = BackedClassifier if "backbone" in described else cls
            with torch.device("meta"):  # no initial weights, which would be large and drawn from the global generator
                model = kind(**described)
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            check_shapes(path, shapes, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
            model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        if isinstance(model, BackedClassifier):
            model.join(path)
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def classify(self, pictures: Tensor, batch: int = 128) -> dict[str, Tensor]:
        """The most likely class of every picture, {question: (n,) int64}; pictures (n, 3, size, size) in 0–1."""
        parts = [self(chunk) for chunk in pictures.split(batch)]
        return {question: torch.cat([part[question].argmax(1) for part in parts]) for question in self.names}


class BackedClassifier(Classifier):
    """Heads, and the layer before them, on EfficientNet-Lite0, which stays as published.

    backbone  {"network": "efficientnet-lite0", "sha256": of its file, "edge": pixels to which pictures are brought for it}

    The file holds the fitted part alone. The body's weights are `efficientnet_lite0` of `excise.evaluation.weights`: in the variable
    EFFICIENTNET_LITE0_WEIGHTS, or in the cache folder's `weights`.
    """

    def __init__(self, heads: Mapping[str, list[str]], size: int = 64, *, backbone: Mapping[str, str | int]) -> None:
        super().__init__(heads, size)
        self.described = dict(backbone)
        if self.described.keys() != {"network", "sha256", "edge"} or self.described["network"] != NETWORK:
            raise ValueError(f'its backbone should be {{"network": "{NETWORK}", "sha256": ..., "edge": ...}}')
        if not isinstance(edge := self.described["edge"], int) or not 32 <= edge <= 1024:
            raise ValueError("its backbone's edge should be a whole number from 32 to 1024")
        self.edge = edge
        self.body: EfficientNetLite0 | None = None

    def _build(self) -> None:
        self.flat = nn.Linear(POOLED, FEATURES)

    def join(self, path: Path) -> None:
        """Find and read the body; `path` is the classifier's file, for errors.

        Raises MissingWeightsError if it is not there, ValueError if it is another one or damaged.
        """
        found = find("efficientnet_lite0")
        if found.sha256 != self.described["sha256"]:
            raise ValueError(
                f"{path} was fitted on {NETWORK} with SHA-256 {str(self.described['sha256'])[:8]}; {found.path} has {found.sha256[:8]}"
            )
        self.body = EfficientNetLite0.load(found)

    def fitted(self) -> dict[str, Tensor]:
        """All tensors but the body's."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("body.")}

    @property
    def identity(self) -> str:
        """SHA-256 of what decides its answers: fitted weights, class names, size, and the body's digest."""
        return digest_values([self.names, self.size, self.described, digest_tensors(self.fitted())])

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What the body's stages make of pictures, (b, c, h, w) each. Raises ValueError for pictures of another size."""
        assert self.body is not None
        self._check_size(pictures)
        larger = F.interpolate(pictures, (self.edge, self.edge), mode="bilinear", align_corners=False)
        return self.body.maps(larger.contiguous(memory_format=torch.channels_last))

    def pooled(self, pictures: Tensor) -> Tensor:
        """What the fitted part sees of pictures, (b, 1752)."""
        maps = self.maps(pictures)
        return torch.cat([maps[tap].mean((2, 3)) for tap in TAPS], 1)

    def features(self, pictures: Tensor) -> Tensor:
        """The layer before the heads, (b, 192). Raises ValueError for pictures of another size."""
        return F.silu(self.flat(self.pooled(pictures)))

    def save(self, path: Path) -> None:
        """Write the fitted weights (half precision), class names and what the body is to one safetensors file."""
        described = {"heads": self.names, "size": self.size, "backbone": self.described}
        write_tensors(
            path, {name: tensor.half() for name, tensor in self.fitted().items()}, {"classifier": json.dumps(described)}
        )
