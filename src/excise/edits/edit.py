"""`Edit`, and `WeightEdit`: per-tensor changes, dense or exactly low-rank, with a manifest."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from excise.edits import applied
from excise.edits.manifest import Kind, Manifest
from excise.files import check_replaceable, read_tensors, replacing_folder, write_json, write_tensors
from excise.models.fingerprint import named_tensors, same_base

TENSORS, MANIFEST = "edit.safetensors", "edit.json"


@dataclass(frozen=True)
class Dense:
    """A change stored whole, shape of the weight."""

    value: Tensor

    def dense(self) -> Tensor:
        """The change, float32."""
        return self.value.float()

    def tensors(self, name: str) -> dict[str, Tensor]:
        return {f"{name}:delta": self.value}


@dataclass(frozen=True)
class LowRank:
    """A change of a matrix as up @ down: up (out, r), down (r, in)."""

    up: Tensor
    down: Tensor

    def dense(self) -> Tensor:
        """The change, (out, in) float32."""
        return self.up.float() @ self.down.float()

    def tensors(self, name: str) -> dict[str, Tensor]:
        return {f"{name}:up": self.up, f"{name}:down": self.down}


Delta = Dense | LowRank


class Edit(ABC):
    """What every kind of edit can do.

    manifest  base fingerprint, method, concepts, settings, measurements
    parts     label -> what is kept apart so that each can be dropped again (`restored`): a concept's ("object:cat"), or a member's of a
              composition
    deltas    canonical tensor name -> change of that weight; empty for kinds that change none
    """

    kind: ClassVar[Kind]
    manifest: Manifest
    parts: Mapping[str, Any]
    deltas: Mapping[str, Delta]

    @classmethod
    @abstractmethod
    def of_parts(cls, parts: Mapping[str, Any], manifest: Manifest) -> Self:
        """An edit whose parts are kept apart, in the order of their labels, whatever order they come in."""

    @abstractmethod
    def apply(self, model: Any, scale: float = 1.0) -> None:
        """Put the edit on a Model or a diffusers pipeline, `scale` times as strong."""

    @abstractmethod
    def remove(self, model: Any) -> None:
        """Take the edit off again. ValueError if it is not on."""

    @contextmanager
    def applied(self, model: Any, scale: float = 1.0) -> Iterator[None]:
        """The edit is on inside the `with` block."""
        self.apply(model, scale)
        try:
            yield
        finally:
            self.remove(model)

    def check_base(self, model: Any) -> None:
        """Raise ValueError unless `model` (without its edits) is the base that this edit names."""
        found = applied.base_fingerprint(model)
        if not same_base(found, self.manifest.base):
            raise ValueError(
                f"this edit was made for another model: it names base {_short(self.manifest.base)} ({self.manifest.model}), "
                f"but this one is {_short(found)}"
            )

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """The same edit, `factor` times as strong."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What the file holds."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors in its file."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def with_measurements(self, measurements: dict[str, Any]) -> Self:
        """The same edit with measurements added to its manifest."""
        merged = {**self.manifest.measurements, **measurements}
        return self.with_manifest(self.manifest.model_copy(update={"measurements": merged}))

    def with_manifest(self, manifest: Manifest) -> Self:
        """The same edit with another manifest."""
        return replace(self, manifest=manifest)  # type: ignore[type-var]

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write `edit.safetensors` and `edit.json` into a folder, all or nothing.

        Raises FileExistsError if the folder is not empty, unless it holds an edit and `overwrite` is set.
        """
        folder = Path(folder)
        check_replaceable(folder, MANIFEST, overwrite)
        with replacing_folder(folder) as temporary:
            self.write(temporary)

    def write(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        metadata = {"excise": self.manifest.model}  # one key: the order of several is random
        write_tensors(folder / TENSORS, self.tensors(), metadata)
        digest = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
        write_json(folder / MANIFEST, self.manifest.model_copy(update={"weights_sha256": digest}).model_dump())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read an edit's folder.

        Raises FileNotFoundError if a file is not there, ValueError if one is damaged, foreign, of another kind of edit, or does not
        belong to the other.
        """
        manifest, tensors = _read(Path(folder))
        if manifest.kind != cls.kind:
            raise ValueError(f"{folder} holds an edit of kind {manifest.kind!r}, not {cls.kind!r}; read it with load_edit")
        return cls.parse(tensors, manifest, Path(folder) / TENSORS)

    @classmethod
    @abstractmethod
    def parse(cls, tensors: Mapping[str, Tensor], manifest: Manifest, path: Path) -> Self:
        """The edit that `tensors` of the file at `path` are. Raises ValueError if they are not one."""


@dataclass(frozen=True, eq=False)
class WeightEdit(Edit):
    """Changes of a model's weights.

    deltas    canonical tensor name ("unet.….to_k.weight") -> change
    manifest  base fingerprint, method, concepts, settings, measurements
    parts     label -> changes by tensor name, where changes are kept apart so that each can be dropped again (`restored`); `deltas` are
              then their sum. A label is a concept's ("object:cat"), or says which member of a composition it is
    """

    deltas: Mapping[str, Delta]
    manifest: Manifest
    parts: Mapping[str, Mapping[str, Delta]] = field(default_factory=dict)
    kind: ClassVar[Kind] = "weights"

    @classmethod
    def of_parts(cls, parts: Mapping[str, Mapping[str, Delta]], manifest: Manifest) -> WeightEdit:
        """An edit whose parts are kept apart; they are added in the order of their labels, whatever order they come in."""
        parts = {label: parts[label] for label in sorted(parts)}
        names = dict.fromkeys(name for part in parts.values() for name in part)
        deltas = {name: _sum([part[name] for part in parts.values() if name in part]) for name in names}
        return cls(deltas, manifest, parts)

    def apply(self, model: Any, scale: float = 1.0) -> None:
        """Put the edit on a Model or a diffusers pipeline; its weights become base + scale * change.

        Raises ValueError if the model is another one than the edit was made for, or lacks a tensor, or the scale is not finite.
        """
        self.check_base(model)
        applied.put_on(model, self, scale)

    def remove(self, model: Any) -> None:
        """Take the edit off again; once no edit is on, every weight is bit-identical to the base. ValueError if it is not on."""
        applied.take_off(model, self)

    def check_base(self, model: Any) -> None:
        """Raise ValueError unless `model` (without its edits) is the base that this edit names, and has the tensors that it changes."""
        super().check_base(model)
        tensors = named_tensors(model)
        for name, delta in self.deltas.items():
            if name not in tensors:
                raise ValueError(f"this edit changes {name}, which the model does not have")
            shape = tuple(delta.dense().shape) if isinstance(delta, Dense) else (len(delta.up), delta.down.shape[1])
            if tuple(tensors[name].shape) != shape:
                raise ValueError(f"this edit's change of {name} is {shape}, the weight is {tuple(tensors[name].shape)}")

    def scaled(self, factor: float) -> WeightEdit:
        """The same edit, `factor` times as strong."""
        manifest = self.manifest.scaled(factor)
        if self.parts:
            return WeightEdit.of_parts({label: _scaled(part, factor) for label, part in self.parts.items()}, manifest)
        return WeightEdit(_scaled(self.deltas, factor), manifest)

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
    def parse(cls, tensors: Mapping[str, Tensor], manifest: Manifest, path: Path) -> WeightEdit:
        deltas = _parse(tensors, path)
        parts = _parts(deltas, path)
        return cls.of_parts(parts, manifest) if parts else cls(deltas, manifest)


def load_edit(folder: str | Path) -> Edit:
    """Read an edit's folder, of whatever kind it is; raises what `Edit.from_pretrained` does."""
    from excise.edits.adapter import AdapterEdit

    manifest, tensors = _read(Path(folder))
    kinds: dict[Kind, type[Edit]] = {kind.kind: kind for kind in (WeightEdit, AdapterEdit)}
    return kinds[manifest.kind].parse(tensors, manifest, Path(folder) / TENSORS)


@contextmanager
def all_applied(model: Any, edits: Sequence[Edit], scale: float = 1.0) -> Iterator[None]:
    """All edits are on inside the block, of whatever kinds, each `scale` times as strong. Raises ValueError for one of another base."""
    with ExitStack() as on:
        for edit in edits:
            on.enter_context(edit.applied(model, scale))
        yield


def check_weights(edits: Sequence[Edit], wish: str) -> None:
    """Raise ValueError unless all edits are changes of weights, which alone can be ..., for example "written into a model"."""
    for edit in edits:
        if edit.manifest.kind != "weights":
            names = ", ".join(edit.manifest.names)
            raise ValueError(
                f"the edit that removes {names} ({edit.manifest.method}) cannot be {wish}: it is an adapter whose strength depends on the "
                "prompt, and weights do not; load the base model and put the edit on it instead (load_edit(FOLDER).apply(pipeline))"
            )


def _read(folder: Path) -> tuple[Manifest, dict[str, Tensor]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such edit: {folder} is not a folder")
    for name in (MANIFEST, TENSORS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not an edit: it has no {name}")
    manifest = Manifest.read(folder / MANIFEST)
    tensors, _ = read_tensors(folder / TENSORS)
    if hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest() != manifest.weights_sha256:
        raise ValueError(f"{folder / TENSORS} is not the file that {MANIFEST} describes (its SHA-256 differs)")
    return manifest, tensors


E = TypeVar("E", bound=Edit)


def compose(edits: Sequence[E]) -> E:
    """One edit that does what all of them do together: their changes, added in float32, or their adapters side by side.

    They are kept apart as members of the composition, in whose ledger they are numbered, so that each can be taken out again.

    Raises ValueError for no edits, or edits of different kinds or bases.
    """
    if not edits:
        raise ValueError("nothing to compose: give at least one edit")
    first = edits[0].manifest
    for edit in edits[1:]:
        if edit.manifest.kind != first.kind:
            raise ValueError(
                f"edits of different kinds do not compose ({first.kind}, {edit.manifest.kind}); put them on one by one"
            )
        if not same_base(edit.manifest.base, first.base):
            raise ValueError(f"edits of different bases do not compose: {_short(first.base)} and {_short(edit.manifest.base)}")
    parts: dict[str, Any] = {}
    for number, edit in enumerate(edits):
        parts |= {f"{number}/{label}": part for label, part in edit.parts.items()} or {str(number): edit.deltas}
    manifest = Manifest(
        kind=first.kind,
        model=first.model,
        base=first.base,
        method="+".join(dict.fromkeys(edit.manifest.method for edit in edits)),
        concepts=[concept for edit in edits for concept in edit.manifest.concepts],
        seed=first.seed,
        versions=first.versions,
        ledger=[edit.manifest.model_dump() for edit in edits],
    )
    return type(edits[0]).of_parts(parts, manifest)


def difference(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Delta]:
    """Dense changes, float32, of the tensors that differ."""
    changes = ((name, (after[name].detach().float() - before[name].detach().float()).cpu()) for name in after)
    return {name: Dense(change) for name, change in changes if change.any()}


def _scaled(deltas: Mapping[str, Delta], factor: float) -> dict[str, Delta]:
    return {
        name: Dense(factor * d.value) if isinstance(d, Dense) else LowRank(factor * d.up, d.down) for name, d in deltas.items()
    }


def _sum(deltas: Sequence[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    low = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(low) == len(deltas):
        up, down = torch.cat([d.up.float() for d in low], 1), torch.cat([d.down.float() for d in low])
        if up.shape[1] < min(len(up), down.shape[1]):
            return LowRank(up, down)
    total = deltas[0].dense()
    for delta in deltas[1:]:
        total = total + delta.dense()
    return Dense(total)


def _parse(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Delta]:
    deltas: dict[str, Delta] = {}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition(":")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: {key} has values that are not finite (NaN or infinity)")
        if part == "delta" and name not in deltas:
            deltas[name] = Dense(tensor)
        elif part == "up" and f"{name}:down" in tensors and name not in deltas:
            deltas[name] = _low_rank(tensor, tensors[f"{name}:down"], name, path)
        elif not (part == "down" and f"{name}:up" in tensors):
            raise ValueError(f"{path} is not an edit's file: unexpected tensor {key!r}")
    return deltas


def _parts(deltas: Mapping[str, Delta], path: Path) -> dict[str, dict[str, Delta]]:
    """Label -> changes, of the names "NAME:LABEL"; nothing if the names have no labels."""
    parts: dict[str, dict[str, Delta]] = {}
    for key, delta in deltas.items():
        name, _, label = key.partition(":")
        parts.setdefault(label, {})[name] = delta
    if "" in parts and len(parts) > 1:
        raise ValueError(f"{path} is not an edit's file: some of its changes belong to a part and some do not")
    return {} if "" in parts else parts


def _low_rank(up: Tensor, down: Tensor, name: str, path: Path) -> LowRank:
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0]:
        raise ValueError(f"{path}: the factors of {name} do not fit together: {tuple(up.shape)} and {tuple(down.shape)}")
    return LowRank(up, down)


def _short(fingerprint: Mapping[str, str]) -> str:
    return next(iter(fingerprint.values()), "unknown")[:12]
