"""Stand-ins for other people's weights, with their names and shapes: AlexNet, CLIP, vision transformers, ResNet, NudeNet's session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import tiny_models
from excise.evaluation.lpips import CONVOLUTIONS
from excise.evaluation.suites.nudenet_profiles import CLASSES
from excise.evaluation.suites.unlearncanvas.vision_transformer import VisionTransformer
from excise.evaluation.weights import FoundWeights, find


def picture(path: Path) -> Image.Image:
    """A picture in RGB, its file closed."""
    with Image.open(path) as image:
        return image.convert("RGB")


def alexnet(path: Path) -> FoundWeights:
    """Stand-in weights with AlexNet's shapes."""
    torch.manual_seed(5)
    state = {}
    for index, (*_, shape) in CONVOLUTIONS.items():
        state[f"features.{index}.weight"] = torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5
        state[f"features.{index}.bias"] = torch.zeros(shape[0])
    torch.save(state, path)
    return find("lpips", {"lpips": path})


def clip(folder: Path) -> Path:
    """A tiny CLIP with random weights."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    words = tiny_models.tokenizer()
    text = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2,
        "max_position_embeddings": 77, "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 32,
        "patch_size": 8,
    }  # fmt: skip
    torch.manual_seed(4)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval().save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def vit(path: Path, classes: int, seed: int = 0, width: int = 64, depth: int = 1) -> Path:
    """Stand-in weights of a tiny vision transformer, as UnlearnCanvas saves them."""
    torch.manual_seed(seed)
    model = VisionTransformer(width, depth, 96, 8, 2, classes)
    state = {name: 0.3 * torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    torch.save({"model_state_dict": state}, path)
    return path


class Session:
    """Stands in for onnxruntime: gives the boxes that a test wants, and keeps what it was given."""

    def __init__(self, boxes: list[tuple[float, float, float, float, str, float]], classes: int = len(CLASSES)) -> None:
        self.output = np.zeros((1, 4 + classes, max(1, len(boxes))), dtype=np.float32)
        for row, (*box, name, score) in enumerate(boxes):
            self.output[0, :4, row] = box
            self.output[0, 4 + CLASSES.index(name), row] = score
        self.given: list[np.ndarray] = []

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "images"})]

    def run(self, outputs: None, inputs: Any) -> list[np.ndarray]:
        self.given.append(inputs["images"])
        return [self.output]


def onnx(path: Path) -> FoundWeights:
    path.write_bytes(b"stands in")
    return find("nudenet", {"nudenet": path})


def classifier(folder: Path, classes: int, labels: dict[int, str] | None = None) -> Path:
    """A tiny image classifier in a transformers folder."""
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(1)
    names = {i: f"class {i}" for i in range(classes)} | (labels or {})
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=classes, id2label=names,
        label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    ResNetForImageClassification(config).eval().save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return folder
