"""An erasure that several processes share, as each of them does it; imported by these processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from excise.concepts import Concept
from excise.erasure.run import Run
from excise.methods import get
from excise.models import load
from excise.models.team import joined
from excise.progress import Progress

Task = tuple[int, int, Path, Path, dict[str, dict[str, Any]]]
"""Rank, size, where they meet, the model's folder, and settings by method."""


def erased(task: Task, progress: Progress) -> dict[str, dict[str, Tensor]]:
    """What every method changes, and ("predict") what the model answers about batches of one row to five."""
    rank, size, meeting, folder, methods = task
    torch.set_num_threads(1)
    model = load(folder, device="cpu")
    with joined(rank, size, torch.device("cpu"), meeting) as team:
        model.team = team
        run = Run(team=team)
        found = {name: get(name).erase(model, [cat()], get(name).parse(own), run).tensors() for name, own in methods.items()}
        found["predict"] = answers(model)
    return found


def cat() -> Concept:
    return Concept("cat", "object", ("a cat",))


def answers(model: Any) -> dict[str, Tensor]:
    given = {}
    for count in range(1, 6):
        x = torch.randn(count, *model.latent_shape, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            given[str(count)] = model.predict(x, torch.arange(count) * 100 + 50, model.encode(["a cat", "a dog"][:1] * count))
    return given
