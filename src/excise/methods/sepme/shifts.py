"""Weight shifts that some prompts cannot feel: their embeddings lie in the null space of the shift (SepME, arXiv 2402.05947)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from excise.edits import Delta, Dense
from excise.models import Model
from excise.models.entrances import Way


def null_space(rows: Tensor, tolerance: float) -> Tensor:
    """Orthonormal rows (q, in), float64, that span what is orthogonal to all `rows`; q = in - rank and may be 0.

    rows      (m, in) embeddings of prompts that must not change, any float dtype
    tolerance directions whose singular value is at most this share of the largest count as free
    """
    rows = rows.cpu().double()
    if len(rows) > rows.shape[1]:
        rows = torch.linalg.qr(rows, mode="r")[1]  # the same singular values and directions, from fewer rows
    _, values, directions = torch.linalg.svd(rows)
    return directions[int((values > tolerance * values[0]).sum()) :]


def leakage(rows: Tensor, basis: Tensor) -> float:
    """The largest share of a row's length (rows (m, in)) that lies along a basis (q, in): 0 if the shifts cannot touch it."""
    rows = rows.cpu().double()
    return float(((rows @ basis.T).norm(dim=1) / rows.norm(dim=1)).max())


class Shifts:
    """One shift dW = beta w S per label for each entrance of the model: what is trained is w, and S is the label's null space of its way.

    They act inside a `with` block, through forward hooks: the model's own weights are never touched. They are trained and computed in
    float32, and what they add is rounded to the dtype that the model computes in.

    model  a Model; edits that are on it stay on and count as its starting point
    bases  label -> way in -> S (q, width) with orthonormal rows
    beta   scale of all shifts
    """

    def __init__(self, model: Model, bases: Mapping[str, Mapping[Way, Tensor]], beta: float) -> None:
        self.beta = beta
        reads = {entrance.weight: entrance.reads for entrance in model.entrances}
        self.layers = model.layers(reads)
        self.bases = {
            label: {name: own[way].to(model.device, torch.float32) for name, way in reads.items()}
            for label, own in bases.items()
        }
        self.parameters: dict[str, nn.Parameter] = {
            f"{name}:{label}": nn.Parameter(torch.zeros(len(self.layers[name].weight), len(basis), device=model.device))
            for label, own in self.bases.items()
            for name, basis in own.items()
        }
        self._on = True
        self._hooks = ExitStack()

    def __enter__(self) -> Shifts:
        for name, layer in self.layers.items():
            self._hooks.callback(layer.register_forward_hook(self._hook(name)).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _hook(self, name: str) -> Any:
        def shifted(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not self._on:
                return output
            changes = []
            for label, own in self.bases.items():
                text = inputs[0][..., : own[name].shape[1]].float()  # what else it reads comes after
                changes.append(text @ own[name].T @ self.parameters[f"{name}:{label}"].T)
            return output + (self.beta * torch.stack(changes).sum(0)).to(output.dtype)

        return shifted

    @contextmanager
    def untrained(self) -> Iterator[None]:
        """Without any shift inside the block, and without gradients: the teacher."""
        self._on = False
        try:
            with torch.no_grad():
                yield
        finally:
            self._on = True

    def changes(self) -> list[Tensor]:
        """What all shifts together change the columns of every matrix that read text by, (out, width) float32 each, with gradients."""
        pieces = [
            [self.beta * self.parameters[f"{name}:{label}"] @ own[name] for label, own in self.bases.items()]
            for name in self.layers
        ]
        return [torch.stack(shifts).sum(0) for shifts in pieces]

    @torch.no_grad()
    def parts(self) -> dict[str, dict[str, Delta]]:
        """label -> name -> shift."""
        return {
            label: {name: Dense(self._whole(name, label, basis)) for name, basis in own.items()}
            for label, own in self.bases.items()
        }

    def _whole(self, name: str, label: str, basis: Tensor) -> Tensor:
        """A shift (out, in) float32, with zeros for what else than text the matrix reads."""
        shift = (self.beta * self.parameters[f"{name}:{label}"].cpu().double() @ basis.cpu().double()).float()
        return nn.functional.pad(shift, (0, self.layers[name].weight.shape[1] - shift.shape[1]))
