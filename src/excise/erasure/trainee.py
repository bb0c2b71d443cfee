"""The one network that is student and teacher: the trained tensors exist twice and are swapped, nothing else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from excise.edits.edit import Delta, difference
from excise.models.fingerprint import named_tensors


class Trainee:
    """Makes the named tensors of a model trainable; `with` puts everything back as it was.

    model  a Model; edits that are on it stay on and count as its starting point
    names  canonical tensor names
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        everything = named_tensors(model)
        self.parameters: dict[str, nn.Parameter] = {name: everything[name] for name in names}
        self.before: dict[str, Tensor] = {}

    def __enter__(self) -> Trainee:
        self.before = {name: parameter.data for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            parameter.data = self.before[name].float().clone()
            parameter.requires_grad_(True)
        return self

    def __exit__(self, *_: object) -> None:
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(False)
            parameter.grad = None
            parameter.data = self.before[name]

    @contextmanager
    def untrained(self) -> Iterator[None]:
        """The original weights inside the block, without gradients: the teacher."""
        student = {name: parameter.data for name, parameter in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                parameter.data = self.before[name]
            with torch.no_grad():
                yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.data = student[name]

    def deltas(self) -> dict[str, Delta]:
        """What training has changed so far."""
        return difference(self.before, {name: parameter.data for name, parameter in self.parameters.items()})
