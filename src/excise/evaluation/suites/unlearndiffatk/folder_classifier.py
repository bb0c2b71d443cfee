"""Any image classifier in a transformers folder: ImageNet's objects, artists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from excise.evaluation.suites.annotations import Annotation
from excise.evaluation.weights import FoundWeights
from excise.files import check_shards


class FolderClassifier:
    """An image classifier in a transformers folder: {"top": class numbers, the likeliest first}.

    labels  name -> number, as its config says

    Raises ValueError if the folder holds none, or not as many classes as `classes`.
    """

    def __init__(self, found: FoundWeights, classes: int, keep: int = 5) -> None:
        options: dict[str, Any] = {"local_files_only": True}
        try:
            check_shards(found.path)
            self.model = AutoModelForImageClassification.from_pretrained(found.path, use_safetensors=True, **options).eval()
            self.processor = AutoImageProcessor.from_pretrained(found.path, **options)
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"{found.path} is not an image classifier: {next(iter(str(error).splitlines()), '')}") from None
        if self.model.config.num_labels != classes:
            raise ValueError(
                f"{found.path} tells {self.model.config.num_labels} classes apart, but {found.weights.name} needs {classes}"
            )
        self.keep = min(keep, classes)
        self.labels = {str(label): int(number) for number, label in self.model.config.id2label.items()}
        self.identity = f"classifier-{found.sha256}-top{self.keep}"
        self.about = {"detector": found.weights.purpose, "weights": {found.weights.name: found.to_dict()}}

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> list[Annotation]:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        return [{"top": row} for row in self.model(pixel_values=pixels).logits.topk(self.keep).indices.tolist()]
