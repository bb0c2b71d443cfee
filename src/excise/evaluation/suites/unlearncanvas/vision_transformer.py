"""UnlearnCanvas's classifiers: vision transformers in timm's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from excise.evaluation.state_files import load_state
from excise.evaluation.suites.annotations import Annotation
from excise.evaluation.weights import FoundWeights


class TransformerAttention(nn.Module):
    """Self-attention, with timm's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width))


class TransformerBlock(nn.Module):
    """Attention and a two-layer network, each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = TransformerAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class VisionTransformer(nn.Module):
    """A ViT (arXiv:2010.11929) with timm's names, so that timm's weights load strictly: 64 channels per head, class token, no pooling."""

    def __init__(self, width: int, depth: int, inner: int, patch: int, grid: int, classes: int) -> None:
        super().__init__()
        self.size = grid * patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.Sequential(*(TransformerBlock(width, width // 64, inner) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (b, classes) of pictures (b, 3, size, size), float -1..1."""
        x = self.patch_embed["proj"](pictures).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])

    @classmethod
    def of(cls, found: FoundWeights, classes: Sequence[str]) -> VisionTransformer:
        """Read weights; sizes are those of the tensors.

        Raises ValueError if they are not a ViT's, or its head has not as many classes as `classes`.
        """
        state = load_state(found.path, found.weights.purpose)
        try:
            head, patches = state["head.weight"], state["patch_embed.proj.weight"]
            width, depth = patches.shape[0], 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
            inner, grid = state["blocks.0.mlp.fc1.weight"].shape[0], round((state["pos_embed"].shape[1] - 1) ** 0.5)
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"{found.path} has not the tensors of a vision transformer of timm: {error}") from None
        if len(head) != len(classes):
            raise ValueError(
                f"{found.path} tells {len(head)} classes apart, but {found.weights.name} needs {len(classes)}: "
                f"{classes[0]}, {classes[1]}, ... {classes[-1]}"
            )
        with torch.device("meta"):  # without initial weights, which would be drawn from the global generator
            model = cls(width, depth, inner, patches.shape[-1], grid, len(head))
        try:
            model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
        except RuntimeError as error:
            raise ValueError(f"{found.path} is not a vision transformer of timm: {' '.join(str(error).split())}") from None
        return model.eval().requires_grad_(False)


class TransformerAnnotator:
    """Several vision transformers, a question each: {"style": 3, "object": 17}, class numbers."""

    def __init__(self, networks: Mapping[str, VisionTransformer], found: Mapping[str, FoundWeights]) -> None:
        self.networks = networks
        self.identity = "vit " + " ".join(f"{question}={found[question].sha256}" for question in networks)
        self.about = {
            "detector": "vision transformers, pictures resized by PIL bilinear, aspect not kept",
            "weights": {item.weights.name: item.to_dict() for item in found.values()},
        }

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> list[Annotation]:
        said = {}
        for question, network in self.networks.items():
            said[question] = network(torch.stack([_pixels(image, network.size) for image in images])).argmax(1).tolist()
        return [{question: int(rows[i]) for question, rows in said.items()} for i in range(len(images))]


def _pixels(image: Image.Image, size: int) -> Tensor:
    """(3, size, size) in -1..1."""
    small = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 127.5 - 1
