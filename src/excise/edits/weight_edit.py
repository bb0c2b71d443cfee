"""`WeightEdit`: changes of a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from excise.edits import applied
from excise.edits.deltas import Delta, parse_deltas, total
from excise.edits.edit import Edit
from excise.edits.manifest import Kind, Manifest


@dataclass(frozen=True, eq=False)
class WeightEdit(Edit):
    """Changes of a model's weights, for the pipelines that `Edit` names.

    deltas    canonical tensor name -> change
    manifest  base fingerprint, method, concepts, settings, measurements
    parts     label -> changes by tensor name, where changes are kept apart so that each can be dropped again (`restored`); `deltas` are
              then their sum. A label is a concept's ("object:cat"), or says which member of a composition it is
    folder    where it was read from, if it was

    Weights that the edit changes must stay as it left them until it is off again; moving and casting the pipeline is no change. The others
    may be trained.
    """

    deltas: Mapping[str, Delta]
    manifest: Manifest
    parts: Mapping[str, Mapping[str, Delta]] = field(default_factory=dict)
    folder: Path | None = None
    kind: ClassVar[Kind] = "weights"

    @classmethod
    def of_parts(cls, parts: Mapping[str, Mapping[str, Delta]], manifest: Manifest) -> WeightEdit:
        """An edit whose parts are kept apart; they are added in the order of their labels, whatever order they come in."""
        parts = {label: parts[label] for label in sorted(parts)}
        names = dict.fromkeys(name for part in parts.values() for name in part)
        deltas = {name: total(name, [part[name] for part in parts.values() if name in part]) for name in names}
        return cls(deltas, manifest, parts)

    def apply(self, model: Any, scale: float = 1.0) -> None:
        """Put the edit on a Model or a diffusers pipeline; its weights become base + scale * change.

        Raises ValueError, with nothing changed, if the model is another one than the edit was made for or lacks a tensor, if its weights
        are quantised, offloaded, or not as earlier edits left them, or if the scale is not finite.
        """
        self.check_base(model)
        applied.put_on(model, self, scale)

    def remove(self, model: Any) -> None:
        """Take the edit off again; once no edit is on, every weight is bit-identical to the base.

        Raises ValueError, with nothing changed, if it is not on, or if the weights are not as the edits left them.
        """
        applied.take_off(model, self)

    def check_base(self, model: Any) -> None:
        """Raise ValueError unless `model` (without its edits) is the base that this edit names, and has the tensors that it changes."""
        tensors = applied.check_base(model, self)
        for name, delta in self.deltas.items():
            if name not in tensors:
                raise ValueError(f"{self.called} changes {name}, which the model does not have")
            if tuple(tensors[name].shape) != delta.shape:
                raise ValueError(
                    f"{self.called}: the change of {name} is {delta.shape}, the weight is {tuple(tensors[name].shape)}"
                )

    def scaled(self, factor: float) -> WeightEdit:
        """The same edit, `factor` times as strong."""
        manifest = self.manifest.scaled(factor)
        if not self.parts:
            return replace(self, deltas=_scaled(self.deltas, factor), manifest=manifest)
        edit = WeightEdit.of_parts({label: _scaled(part, factor) for label, part in self.parts.items()}, manifest)
        return replace(edit, folder=self.folder)

    def tensors(self) -> dict[str, Tensor]:
        """What the file holds: "NAME:delta", or "NAME:up" and "NAME:down"; of a part "NAME:LABEL:delta" and so on."""
        labelled = [(f":{label}", part) for label, part in self.parts.items()] or [("", self.deltas)]
        return {
            key: tensor
            for label, deltas in labelled
            for name, delta in deltas.items()
            for key, tensor in delta.tensors(name + label).items()
        }

    @classmethod
    def parse(cls, tensors: Mapping[str, Tensor], manifest: Manifest) -> WeightEdit:
        deltas = parse_deltas(tensors)
        parts = _parts(deltas)
        return cls.of_parts(parts, manifest) if parts else cls(deltas, manifest)


def _scaled(deltas: Mapping[str, Delta], factor: float) -> dict[str, Delta]:
    return {name: delta.scaled(factor) for name, delta in deltas.items()}


def _parts(deltas: Mapping[str, Delta]) -> dict[str, dict[str, Delta]]:
    """Label -> changes, of the names "NAME:LABEL"; nothing if the names have no labels."""
    parts: dict[str, dict[str, Delta]] = {}
    for key, delta in deltas.items():
        name, _, label = key.partition(":")
        parts.setdefault(label, {})[name] = delta
    if "" in parts and len(parts) > 1:
        raise ValueError("some of its changes belong to a part and some do not")
    return {} if "" in parts else parts
