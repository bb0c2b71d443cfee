"""Feature vectors of an answer set's pictures, kept by the picture's content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from excise.digests import digest_values
from excise.evaluation.features import FeatureNetwork
from excise.evaluation.suites.answer_set import Answered, AnswerSet
from excise.progress import Progress

BATCH = 16


def vectors(
    answers: AnswerSet, pictures: Sequence[Answered], network: FeatureNetwork, progress: Progress, stage: str = "features"
) -> Tensor:
    """A row per picture, (n, d)."""
    name, known = f"features-{digest_values(network.identity)[:16]}", dict[str, Tensor]()
    if kept := answers.notes.get(name):
        known = dict(zip(kept.about, kept.tensors["features"], strict=True))
    new = list({picture.sha256: picture for picture in pictures if picture.sha256 not in known}.values())
    try:
        for start in range(0, len(new), BATCH):
            progress(stage, start, len(new))
            for picture in new[start : start + BATCH]:  # one at a time: their sizes may differ
                known[picture.sha256] = network(pixels(picture)[None])[network.key][0]
    finally:
        if new and known:
            answers.notes.put(name, {"features": torch.stack(list(known.values()))}, list(known))
    progress(stage, len(new), len(new))
    return torch.stack([known[picture.sha256] for picture in pictures])


def pixels(picture: Answered) -> Tensor:
    """(3, h, w) float 0–1."""
    return torch.from_numpy(np.array(picture.open())).permute(2, 0, 1).float() / 255
