"""Asking a model for pictures and keeping what readers make of each: what a classifier says, features, thumbnails.

Every picture is made once and shown to all readers. What they make of the pictures of a model without edits is kept in the cache folder
(`EXCISE_CACHE` overrides where), a file per model, sampler and reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from excise.digests import digest_values
from excise.edits.base_shelf import base_shelf
from excise.evaluation.classifier import Classifier
from excise.files import Shelf
from excise.finite import check_finite
from excise.models import Model
from excise.progress import Progress, silent

Answer = dict[str, int]
"""What the classifier says of one picture: question ("object", "style", "member") -> class index."""

EDGE = 128
"""Longest edge of the thumbnails that are kept, in pixels (ours): 48 KiB each; all of a picture of the canvas."""

SAVE_EVERY = 60.0
"""Seconds of picture-making that a kill can cost."""


@dataclass(frozen=True)
class Item:
    """One picture to ask for. A picture depends on its own seed alone, so sets can be cut and joined freely."""

    prompt: str
    seed: int


class Reader(Protocol):
    """Makes something of pictures (b, 3, h, w), float 0–1: named tensors with a row per picture.

    identity  differs from that of every reader that would make something else of the same picture
    """

    identity: str

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]: ...


class Judge:
    """A classifier as a reader: "answers" (b, questions) int16 in the order of its heads, "features" (b, 192) half precision."""

    key = "features"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        sha256 = classifier.identity
        self.identity = f"judge-{sha256}"
        self.about: dict[str, Any] = {"features": "classifier", "sha256": sha256}

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.classifier.features(pictures)
        said = [self.classifier.heads[question](features).argmax(1) for question in self.classifier.names]
        return {"answers": torch.stack(said, 1).short(), "features": features.half()}


class Thumbnails:
    """Pictures as bytes, averaged down to whole fractions until no edge is longer than `edge`: "thumbnails" (b, 3, h, w) uint8."""

    def __init__(self, edge: int = EDGE) -> None:
        self.edge = edge
        self.identity = f"thumbnails-{edge}"

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        h, w = pictures.shape[-2:]
        factor = -(-max(h, w) // self.edge)
        small = adaptive_avg_pool2d(pictures, (h // factor, w // factor)) if factor > 1 else pictures
        return {"thumbnails": small.mul(255).round().byte()}


def answer(
    model: Model,
    items: Sequence[Item],
    classifier: Classifier,
    *,
    stage: str = "judging",
    progress: Progress = silent,
    batch: int | None = None,
) -> list[Answer]:
    """Make every picture with the model's default sampler and classify it.

    Answers of a model that carries no edit are kept in the cache folder and made only once.
    """
    found = read(model, items, [Judge(classifier)], stage=stage, progress=progress, batch=batch)
    return to_answers(classifier, found["answers"])


def to_answers(classifier: Classifier, answers: Tensor) -> list[Answer]:
    """What a `Judge` read, (n, questions), by question."""
    return [dict(zip(classifier.names, row, strict=True)) for row in answers.tolist()]


def read(
    model: Model,
    items: Sequence[Item],
    readers: Sequence[Reader],
    *,
    stage: str = "pictures",
    progress: Progress = silent,
    batch: int | None = None,
) -> dict[str, Tensor]:
    """Make every picture with the model's default sampler and show it to all readers; what they made, a row per item, by name.

    batch  pictures at once; default at most 40

    For a model that carries no edit, only pictures that a reader has not seen yet are made.
    """
    if not items:
        raise ValueError("nothing to read: give at least one picture to ask for")
    shelf = base_shelf(model, "answers")
    stores = [_Store(shelf, reader) for reader in readers]
    missing = [item for item in dict.fromkeys(items) if any(item not in store.rows for store in stores)]
    size = batch or model.batch(40)
    with _saving(stores) as save:
        for start in range(0, len(missing), size):
            progress(stage, start, len(missing))
            chunk = missing[start : start + size]
            pictures = model.sample([item.prompt for item in chunk], [item.seed for item in chunk], batch=size)
            for store in stores:
                store.add(chunk, pictures)
            save()
    if missing:
        progress(stage, len(missing), len(missing))
    return {name: tensor for store in stores for name, tensor in store.stacked(items).items()}


class _Store:
    """What one reader made of pictures, by item; an entry of the shelf."""

    def __init__(self, shelf: Shelf, reader: Reader) -> None:
        self.shelf, self.reader, self.name = shelf, reader, digest_values(reader.identity)[:16]
        self.rows = self._kept()
        self.changed = False

    def add(self, items: Sequence[Item], pictures: Tensor) -> None:
        made = self.reader(pictures)
        check_finite(made, "what is read from a picture", "the classifier or feature network cannot be used on it")
        for index, item in enumerate(items):
            self.rows[item] = {name: tensor[index] for name, tensor in made.items()}
        self.changed = True

    def stacked(self, items: Sequence[Item]) -> dict[str, Tensor]:
        names = list(self.rows[items[0]])
        return {name: torch.stack([self.rows[item][name] for item in items]) for name in names}

    def write(self) -> None:
        if not self.changed:
            return
        rows = self._kept() | self.rows  # another process may have written meanwhile
        tensors = {name: torch.stack([row[name] for row in rows.values()]) for name in next(iter(rows.values()))}
        self.shelf.put(self.name, tensors, [[item.prompt, item.seed] for item in rows])
        self.changed = False

    def _kept(self) -> dict[Item, dict[str, Tensor]]:
        entry = self.shelf.get(self.name)
        if entry is None:
            return {}
        items = [Item(prompt, seed) for prompt, seed in entry.about]
        return {item: {name: tensor[index] for name, tensor in entry.tensors.items()} for index, item in enumerate(items)}


@contextmanager
def _saving(stores: Sequence[_Store]) -> Iterator[Callable[[], None]]:
    """Write the stores now and then, and at the end also of a run that fails or is stopped."""
    written = time.monotonic()

    def save() -> None:
        nonlocal written
        if time.monotonic() - written > SAVE_EVERY:
            for store in stores:
                store.write()
            written = time.monotonic()

    try:
        yield save
    finally:
        for store in stores:
            store.write()
