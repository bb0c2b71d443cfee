"""The one network that is student and teacher: the trained tensors exist twice and are swapped, nothing else does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from excise.edits.deltas import Delta, difference
from excise.models.fingerprint import named_tensors
from excise.models.precision import autocast


def check_trainable(model: Any) -> None:
    """Raise ValueError for a float16 model: small gradients vanish on their way through it, whatever is trained."""
    if model.dtype == torch.float16:
        raise ValueError("gradients vanish in float16: load the model as bfloat16 or float32 to train it")


class Trainable:
    """Makes the named tensors of a model trainable; `with` puts everything back as it was.

    model  a Model; edits that are on it stay on and count as its starting point
    names  canonical tensor names

    The tensors are trained in float32; the rest of a bfloat16 model stays as it is (autocast). Raises ValueError for a float16 model.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        check_trainable(model)
        self.everything = named_tensors(model)
        self.parameters: dict[str, nn.Parameter] = {name: self.everything[name] for name in names}
        self.before: dict[str, Tensor] = {}
        self._mixed = contextlib.ExitStack()

    def __enter__(self) -> Trainable:
        self.before = {name: parameter.data for name, parameter in self.parameters.items()}
        copies = {name: own.to(torch.promote_types(own.dtype, torch.float32), copy=True) for name, own in self.before.items()}
        for name, parameter in self.parameters.items():
            parameter.data = copies.pop(name)
            parameter.requires_grad_(True)
        own = next(iter(self.before.values()))
        if own.dtype == torch.bfloat16:
            self._mixed.enter_context(autocast(own.device))
        return self

    def __exit__(self, *_: object) -> None:
        self._mixed.close()
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(False)
            parameter.grad = None
            parameter.data = self.before[name]

    def untrained(self) -> AbstractContextManager[None]:
        """The original weights inside the block, without gradients: the teacher."""
        return self.holding(self.before)

    @contextmanager
    def holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Other values of some of the model's tensors inside the block, by name, without gradients."""
        student = {name: self.everything[name].data for name in tensors}
        try:
            for name, tensor in tensors.items():
                self.everything[name].data = tensor
            with torch.no_grad():
                yield
        finally:
            for name, tensor in student.items():
                self.everything[name].data = tensor

    def deltas(self) -> dict[str, Delta]:
        """What training has changed so far."""
        return difference(self.before, {name: parameter.data for name, parameter in self.parameters.items()})
