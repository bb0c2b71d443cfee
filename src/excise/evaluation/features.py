"""Networks that turn pictures into vectors, as readers: Inception for FID and KID as published, CLIP for those and for the CLIP score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from excise.evaluation.state_files import load_state
from excise.evaluation.weights import FoundWeights, find
from excise.files import PICTURE_ENDINGS, at_home, check_shards
from excise.images import read_picture
from excise.models.context import left_out


class FeatureNetwork(Protocol):
    """A reader whose tensor `key` holds a vector per picture.

    about  what a result records of it
    """

    identity: str
    key: str
    about: dict[str, Any]

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]: ...


class Inception:
    """The 2048 pool features of TensorFlow's Inception-v3 as torch-fidelity carries it, resized as torchmetrics does by default."""

    key = "inception"

    def __init__(self, found: FoundWeights) -> None:
        try:
            import torch_fidelity  # noqa: F401
            from torchmetrics.image.fid import NoTrainInceptionV3  # late, as in `quality.fid`
        except ImportError:
            raise ValueError("Inception features need torch-fidelity: pip install 'excise[metrics]'") from None

        load_state(found.path, "Inception-v3")  # torch-fidelity unpickles anything: make sure that there are only tensors
        self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(found.path))
        self.identity = f"inception-{found.sha256}"
        self.about = {"features": "inception-v3-compat, 2048", **found.to_dict()}

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        return {self.key: self.network(pictures.mul(255).round().byte())}


class Clip:
    """A CLIP model's picture embeddings, before normalisation; its words are compared with them in `scores`."""

    key = "clip"

    def __init__(self, found: FoundWeights) -> None:
        try:
            check_shards(found.path)
            options: dict[str, Any] = {"local_files_only": True}
            self.model = CLIPModel.from_pretrained(found.path, use_safetensors=True, **options).eval()
            self.processor = CLIPImageProcessorPil.from_pretrained(found.path, **options)
            self.tokenizer = CLIPTokenizer.from_pretrained(found.path, **options)
        except (OSError, ValueError) as error:
            raise ValueError(f"{found.path} is not a CLIP folder: {next(iter(str(error).splitlines()), '')}") from None
        self.identity = f"clip-{found.sha256}"
        self.about = {"features": f"{found.path.name}, {self.model.config.projection_dim}", **found.to_dict()}

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        images = [picture.mul(255).round().byte().permute(1, 2, 0).numpy() for picture in pictures]
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"]
        return {self.key: _tensor(self.model.get_image_features(pixel_values=pixels))}

    @torch.no_grad()
    def scores(self, prompts: Sequence[str], embeddings: Tensor, batch: int = 256) -> Tensor:
        """Cosine of every picture's embedding (n, d) with that of its prompt, (n,) -1..1; longer prompts are cut at the context."""
        distinct = list(dict.fromkeys(prompts))
        parts = []
        for start in range(0, len(distinct), batch):
            tokens = self.tokenizer(
                distinct[start : start + batch],
                padding="max_length",
                truncation=True,
                max_length=self.tokenizer.model_max_length,
                return_tensors="pt",
            )
            parts.append(_tensor(self.model.get_text_features(**tokens)))
        rows = {prompt: row for row, prompt in enumerate(distinct)}
        texts = torch.cat(parts)[[rows[prompt] for prompt in prompts]]
        return torch.nn.functional.cosine_similarity(embeddings.float(), texts.float())

    def cut(self, prompts: Sequence[str]) -> int:
        """How many prompts are longer than the context."""
        longer = left_out(self.tokenizer, prompts)
        return sum(prompt in longer for prompt in prompts)


def load_network(name: str, path: str | Path | None) -> FeatureNetwork:
    """The network "inception" or "clip"; `path` None looks where `weights.find` does. Raises ValueError or MissingWeightsError."""
    if name == "inception":
        return Inception(find("inception_fid", {"inception_fid": path} if path else None))
    if name == "clip":
        return Clip(find("clip", {"clip": path} if path else None))
    raise ValueError(f"unknown features {name!r}; known: classifier, inception, clip")


def folder_files(folder: str | Path) -> list[Path]:
    """The pictures of a folder and its sub-folders, sorted. Raises FileNotFoundError or, if there is none, ValueError."""
    root = at_home(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder of pictures: {root}")
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in PICTURE_ENDINGS)
    if not files:
        raise ValueError(f"{root} has no pictures; expected {', '.join(PICTURE_ENDINGS)} files")
    return files


def folder_features(folder: str | Path, network: FeatureNetwork, size: int, batch: int = 64) -> Tensor:
    """The features of every picture of a folder, cropped to a square of `size` pixels, (n, d)."""
    files = folder_files(folder)
    parts = []
    for start in range(0, len(files), batch):
        pictures = torch.stack([read_picture(file, size) for file in files[start : start + batch]])
        parts.append(network(pictures)[network.key])
    return torch.cat(parts)


def _tensor(output: Any) -> Tensor:
    """transformers 5 wraps the embeddings of CLIP."""
    return output if isinstance(output, Tensor) else output.pooler_output
