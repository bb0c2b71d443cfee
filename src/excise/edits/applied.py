"""Which edits are on a model right now, and the tensors they displaced.

The original tensors are set aside, not recomputed: taking the last edit off puts the very same values back, bit for bit. With several
edits on, the weights are base + sum of scaled deltas, summed in float32 in the order in which they were put on.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from excise.models.fingerprint import components, fingerprint, named_tensors

if TYPE_CHECKING:
    from excise.edits.edit import Edit


@dataclass
class _State:
    originals: dict[str, Tensor] = field(default_factory=dict)
    edits: list[tuple[Edit, float]] = field(default_factory=list)
    fingerprint: dict[str, str] | None = None
    seen: tuple[tuple[int, int], ...] = ()


_states: weakref.WeakKeyDictionary[nn.Module, _State] = weakref.WeakKeyDictionary()


def _state(model: Any) -> _State:
    return _states.setdefault(components(model)["unet"], _State())


def applied_edits(model: Any) -> tuple[tuple[Edit, float], ...]:
    """The edits that are on, with their scales, oldest first."""
    return tuple(_state(model).edits)


def original_tensors(model: Any) -> dict[str, Tensor]:
    """Every editable tensor as it is without any edit (no copies)."""
    originals = _state(model).originals
    return {name: originals.get(name, parameter) for name, parameter in named_tensors(model).items()}


def base_fingerprint(model: Any) -> dict[str, str]:
    """Fingerprint of the model without its edits; computed once and again only if a weight was written to since."""
    state = _state(model)
    tensors = original_tensors(model)
    seen = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors.values())
    if state.fingerprint is None or (not state.edits and seen != state.seen):
        state.fingerprint, state.seen = fingerprint(tensors), seen
    return state.fingerprint


def put_on(model: Any, edit: Edit, scale: float) -> None:
    """Add an edit to those that are on. Raises ValueError for a scale that is not finite."""
    if not math.isfinite(scale):
        raise ValueError(f"the scale of an edit must be a finite number, not {scale}")
    state = _state(model)
    _set(model, state, [*state.edits, (edit, scale)])


def take_off(model: Any, edit: Edit) -> None:
    """Remove the newest application of an edit. Raises ValueError if it is not on."""
    state = _state(model)
    for index in reversed(range(len(state.edits))):
        if state.edits[index][0] is edit:
            _set(model, state, state.edits[:index] + state.edits[index + 1 :])
            return
    raise ValueError("this edit is not on this model")


@torch.no_grad()
def _set(model: Any, state: _State, edits: list[tuple[Edit, float]]) -> None:
    parameters = named_tensors(model)
    for name, original in state.originals.items():  # the model may have been moved or cast meanwhile
        state.originals[name] = original.to(parameters[name])
    touched = {name for edit, _ in edits for name in edit.deltas}
    for name in state.originals.keys() - touched:
        parameters[name].data = state.originals.pop(name)
    for name in touched:
        original = state.originals.setdefault(name, parameters[name].data)
        weight = original.float()
        for edit, scale in edits:
            if name in edit.deltas:
                weight = weight + scale * edit.deltas[name].dense().to(weight.device)
        parameters[name].data = weight.to(original.dtype)
    state.edits = edits
