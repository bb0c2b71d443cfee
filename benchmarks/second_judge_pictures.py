"""The pictures that two judges look at: of the canvas, of the canvas with edits on, real ones, and some that show nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from excise.canvas import data
from excise.edits import Edit, load_edit
from excise.evaluation.picture_cache import Item, Thumbnails, read
from excise.evaluation.prompt_grid import Asked, questions
from excise.files import read_tensors, write_tensors
from excise.jobs.erase import erase
from excise.models import Model
from excise.randomness import seeded

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("mim", "uce")
RUIN = 0.5
"""Noise on the weights of a destroyed model, in standard deviations of each matrix (ours)."""


@dataclass(frozen=True)
class Shown:
    """Pictures of a model, (n, 3, 64, 64) in 0–1, and what was asked for: the targets' first, then the retained, then the neutral."""

    concept: str
    method: str
    asked: Asked
    pictures: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of target, retained and neutral pictures; edited models have none of the last."""
        target, retained = len(self.asked.target), len(self.asked.retained)
        rows = torch.arange(len(self.pictures))
        return rows[:target], rows[target : target + retained], rows[target + retained :]


def shown(model: Model, concepts: Sequence[str], work: Path, target: int, other: int) -> Iterator[Shown]:
    """Of each concept the base model, then every method; what is below `work` is not made again."""
    for concept in concepts:
        asked = questions(model, [model.catalog.resolve(concept)], target, other, 0)
        for method in ("base", *METHODS):
            file = work / "pictures" / f"{_file(concept, method)}-{target}-{other}.safetensors"
            edit = None if method == "base" else _edit(concept, method, work / "edits")
            items = [question.item for question in asked.all] + ([] if edit else asked.neutral)
            yield Shown(concept, method, asked, _kept(file, model, items, edit))


def _file(concept: str, method: str) -> str:
    return f"{method}-{concept}".replace(":", "-").replace(" ", "_")


def _edit(concept: str, method: str, folder: Path) -> Edit:
    """The method's edit with its default settings, made unless it is there."""
    out = folder / _file(concept, method)
    if not (out / "edit.json").is_file():
        erase(concept, model="canvas", method=method, out=out, seed=0, evaluate="none", device="cpu")
    return load_edit(out)


def _kept(file: Path, model: Model, items: list[Item], edit: Edit | None) -> Tensor:
    if not file.is_file():
        with edit.applied(model) if edit else nullcontext():
            write_tensors(file, read(model, items, [Thumbnails()]))
    return read_tensors(file)[0]["thumbnails"].float() / 255


@torch.no_grad()
def destroyed(model: Model, work: Path, count: int) -> Tensor:
    """Pictures of kept objects by the model with so much noise on its weights that it draws nothing."""
    file = work / "pictures" / f"destroyed-{count}.safetensors"
    if not file.is_file():
        items = [question.item for question in questions(model, [model.catalog.resolve("cat")], 1, 8, 0).retained][
            :: 152 // count
        ]
        matrices = [each for each in model.denoiser.parameters() if each.dim() > 1]
        before, generator = [each.clone() for each in matrices], seeded(0)
        try:
            for each in matrices:
                each += RUIN * each.std() * torch.randn(each.shape, generator=generator)
            pictures = model.sample([item.prompt for item in items[:count]], [item.seed for item in items[:count]])
        finally:
            for each, old in zip(matrices, before, strict=True):
                each.copy_(old)
        write_tensors(file, Thumbnails()(pictures))
    return read_tensors(file)[0]["thumbnails"].float() / 255


def nothing(pictures: Tensor) -> dict[str, Tensor]:
    """Pictures that show nothing, as many as the real ones (n, 3, 64, 64) that are given."""
    generator, n = seeded(0), len(pictures)
    noise = torch.rand(pictures.shape, generator=generator)
    rough = torch.randn(n, 3, 4, 4, generator=generator)
    clouds = torch.nn.functional.interpolate(rough, data.SIZE, mode="bicubic").mul(0.25).add(0.5).clamp(0, 1)
    return {
        "pure noise": noise,
        "one colour": torch.rand(n, 3, 1, 1, generator=generator).expand_as(pictures).clone(),
        "a ground without a thing": data.ground(n, generator),
        "clouds of colour": clouds,
        "a real picture under 80 % noise": 0.2 * pictures + 0.8 * noise,
    }
