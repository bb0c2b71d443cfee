"""Asking a model for pictures and a classifier what they show; answers of the base model are kept between runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from excise.edits import applied_edits
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Progress, silent
from excise.evaluation.classifier import Classifier
from excise.files import cache_folder, write_json
from excise.models import Model

Answer = dict[str, int]
"""What the classifier says of one picture: question ("object", "style", "member") -> class index."""


@dataclass(frozen=True)
class Item:
    """One picture to ask for. A picture depends on its own seed alone, so sets can be cut and joined freely."""

    prompt: str
    seed: int


def answer(
    model: Model,
    items: Sequence[Item],
    classifier: Classifier,
    *,
    stage: str = "judging",
    progress: Progress = silent,
    batch: int = 40,
) -> list[Answer]:
    """Make every picture with the model's default sampler and classify it.

    Answers of a model that carries no edit are kept in the cache folder and made only once.
    """
    cache = None if applied_edits(model) else _Cache(model, classifier)
    known: dict[Item, Answer] = cache.read() if cache else {}
    missing = [item for item in dict.fromkeys(items) if item not in known]
    for start in range(0, len(missing), batch):
        progress(stage, start, len(missing))
        chunk = missing[start : start + batch]
        pictures = model.sample([item.prompt for item in chunk], [item.seed for item in chunk], batch=batch)
        said = classifier.classify(pictures)
        for row, item in enumerate(chunk):
            known[item] = {question: int(classes[row]) for question, classes in said.items()}
    if missing:
        progress(stage, len(missing), len(missing))
        if cache:
            cache.write(known)
    return [known[item] for item in items]


class _Cache:
    """Answers of one model with one sampler and classifier, a JSON file in the user's cache folder (`EXCISE_CACHE` overrides)."""

    def __init__(self, model: Model, classifier: Classifier) -> None:
        weights = {name: tensor for name, tensor in classifier.state_dict().items()}
        judge = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
        vae = hashlib.sha256(
            b"".join(t.float().numpy().tobytes() for t in model.pipeline.vae.state_dict().values())
        ).hexdigest()
        key = [
            base_fingerprint(model),
            judge,
            vae,
            vars(model.sampler),
            repr(model.pipeline.scheduler.config),
            torch.__version__,
        ]
        name = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:16]
        self.path = cache_folder() / "answers" / f"{name}.json"

    def read(self) -> dict[Item, Answer]:
        if not self.path.is_file():
            return {}
        data: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return {Item(prompt, int(seed)): said for prompt, rows in data.items() for seed, said in rows.items()}

    def write(self, known: dict[Item, Answer]) -> None:
        data: dict[str, dict[str, Answer]] = {}
        for item, said in (self.read() | known).items():
            data.setdefault(item.prompt, {})[str(item.seed)] = said
        write_json(self.path, data)
