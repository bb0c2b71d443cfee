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
from excise.models.fingerprint import named_tensors
from excise.models.team import Team, joined
from excise.progress import Progress

Task = tuple[int, int, Path, Path, dict[str, dict[str, Any]]]
"""Rank, size, where they meet, the model's folder, and settings by method."""


def erased(task: Task, progress: Progress) -> dict[str, dict[str, Tensor]]:
    """What every method changes, what the model answers about batches of one row to five, and a gradient."""
    rank, size, meeting, folder, methods = task
    torch.set_num_threads(1)
    model = load(folder, device="cpu")
    with joined(rank, size, torch.device("cpu"), meeting) as team:
        model.team = team
        run = Run(team=team)
        found = {name: get(name).erase(model, [cat()], get(name).parse(own), run).tensors() for name, own in methods.items()}
        found["predict"] = answers(model)
        found["gradients"] = gradients(model, team)
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


def gradients(model: Any, team: Team) -> dict[str, Tensor]:
    """Of a loss that is made of shared predictions and of a weight itself."""
    own = [name for name, tensor in named_tensors(model).items() if tensor.ndim == 2 and "attn2" in name][:2]
    used, other = (named_tensors(model)[name].requires_grad_() for name in own)
    x = torch.randn(5, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    with team.learning():
        answer = model.predict(x, torch.full((5,), 500), model.encode(["a cat"] * 5))
        loss = answer.square().mean() + used.square().mean()
    loss.backward()
    team.average([used, other])
    found = {name: tensor.grad.clone() for name, tensor in zip(own, (used, other), strict=True) if tensor.grad is not None}
    for tensor in (used, other):
        tensor.requires_grad_(False).grad = None
    return found
