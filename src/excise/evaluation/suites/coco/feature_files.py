"""Feature vectors of an answer set's pictures, kept by the picture's content."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from excise.digests import digest_values
from excise.evaluation.features import FeatureNetwork
from excise.evaluation.suites.answer_set import Answered, AnswerSet
from excise.files import read_tensors, write_tensors
from excise.progress import Progress

BATCH = 16


def vectors(
    answers: AnswerSet, pictures: Sequence[Answered], network: FeatureNetwork, progress: Progress, stage: str = "features"
) -> Tensor:
    """A row per picture, (n, d)."""
    path = answers.notes / f"{digest_values(network.identity)[:16]}.safetensors"
    known: dict[str, Tensor] = {}
    if path.is_file():
        tensors, metadata = read_tensors(path)
        known = dict(zip(json.loads(metadata["sha256"]), tensors["features"], strict=True))
    new = list({picture.sha256: picture for picture in pictures if picture.sha256 not in known}.values())
    try:
        for start in range(0, len(new), BATCH):
            progress(stage, start, len(new))
            for picture in new[start : start + BATCH]:  # one at a time: their sizes may differ
                known[picture.sha256] = network(pixels(picture)[None])[network.key][0]
    finally:
        if new and known:
            write_tensors(path, {"features": torch.stack(list(known.values()))}, {"sha256": json.dumps(list(known))})
    progress(stage, len(new), len(new))
    return torch.stack([known[picture.sha256] for picture in pictures])


def pixels(picture: Answered) -> Tensor:
    """(3, h, w) float 0–1."""
    return torch.from_numpy(np.array(picture.open())).permute(2, 0, 1).float() / 255
