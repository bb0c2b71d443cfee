"""`WeightEdit`: per-tensor changes, dense or exactly low-rank, with a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from excise.edits import applied
from excise.edits.manifest import Manifest
from excise.files import check_replaceable, read_tensors, replacing_folder, write_json, write_tensors
from excise.models.fingerprint import named_tensors

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


@dataclass(frozen=True, eq=False)
class WeightEdit:
    """Changes of a model's weights.

    deltas    canonical tensor name ("unet.….to_k.weight") -> change
    manifest  base fingerprint, method, concepts, settings, measurements
    """

    deltas: Mapping[str, Delta]
    manifest: Manifest

    def apply(self, model: Any, scale: float = 1.0) -> None:
        """Put the edit on a Model or a diffusers pipeline; its weights become base + scale * change.

        Raises ValueError if the model is another one than the edit was made for, or lacks a tensor.
        """
        self.check_base(model)
        applied.put_on(model, self, scale)

    def remove(self, model: Any) -> None:
        """Take the edit off again; once no edit is on, every weight is bit-identical to the base. ValueError if it is not on."""
        applied.take_off(model, self)

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
        common = found.keys() & self.manifest.base.keys()
        own = str(next(iter(applied.original_tensors(model).values())).dtype).removeprefix("torch.")
        key = own if own in common else next(iter(common), "")
        if not key or found[key] != self.manifest.base[key]:
            raise ValueError(
                f"this edit was made for another model: it names base {_short(self.manifest.base)} ({self.manifest.model}), "
                f"but this one is {_short(found)}"
            )
        tensors = named_tensors(model)
        for name, delta in self.deltas.items():
            if name not in tensors:
                raise ValueError(f"this edit changes {name}, which the model does not have")
            shape = tuple(delta.dense().shape) if isinstance(delta, Dense) else (len(delta.up), delta.down.shape[1])
            if tuple(tensors[name].shape) != shape:
                raise ValueError(f"this edit's change of {name} is {shape}, the weight is {tuple(tensors[name].shape)}")

    def scaled(self, factor: float) -> WeightEdit:
        """The same edit, `factor` times as strong."""
        deltas = {
            name: Dense(factor * d.value) if isinstance(d, Dense) else LowRank(factor * d.up, d.down)
            for name, d in self.deltas.items()
        }
        settings = {**self.manifest.settings, "scale": factor * self.manifest.settings.get("scale", 1.0)}
        return WeightEdit(deltas, self.manifest.model_copy(update={"settings": settings}))

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.nbytes for name, d in self.deltas.items() for t in d.tensors(name).values())

    def with_measurements(self, measurements: dict[str, Any]) -> WeightEdit:
        """The same edit with measurements added to its manifest."""
        merged = {**self.manifest.measurements, **measurements}
        return WeightEdit(self.deltas, self.manifest.model_copy(update={"measurements": merged}))

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
        tensors = {key: t for name, d in self.deltas.items() for key, t in d.tensors(name).items()}
        write_tensors(folder / TENSORS, tensors, {"format": "excise", "model": self.manifest.model})
        digest = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
        write_json(folder / MANIFEST, self.manifest.model_copy(update={"weights_sha256": digest}).model_dump())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> WeightEdit:
        """Read an edit's folder.

        Raises FileNotFoundError if a file is not there, ValueError if one is damaged, foreign, or does not belong to the other.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"no such edit: {folder} is not a folder")
        for name in (MANIFEST, TENSORS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder} is not an edit: it has no {name}")
        manifest = Manifest.parse((folder / MANIFEST).read_text(encoding="utf-8", errors="replace"), str(folder / MANIFEST))
        tensors, _ = read_tensors(folder / TENSORS)
        if hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest() != manifest.weights_sha256:
            raise ValueError(f"{folder / TENSORS} is not the file that {MANIFEST} describes (its SHA-256 differs)")
        return cls(_parse(tensors, folder / TENSORS), manifest)


def load_edit(folder: str | Path) -> WeightEdit:
    """Read an edit's folder; see `WeightEdit.from_pretrained`."""
    return WeightEdit.from_pretrained(folder)


def compose(edits: Sequence[WeightEdit]) -> WeightEdit:
    """One edit that does what all of them do together: their changes, added in float32.

    Raises ValueError for no edits or edits of different bases.
    """
    if not edits:
        raise ValueError("nothing to compose: give at least one edit")
    first = edits[0].manifest
    for edit in edits[1:]:
        if edit.manifest.base != first.base:
            raise ValueError(f"edits of different bases do not compose: {_short(first.base)} and {_short(edit.manifest.base)}")
    names = dict.fromkeys(name for edit in edits for name in edit.deltas)
    deltas = {name: _sum([edit.deltas[name] for edit in edits if name in edit.deltas]) for name in names}
    manifest = Manifest(
        model=first.model,
        base=first.base,
        method="+".join(dict.fromkeys(edit.manifest.method for edit in edits)),
        concepts=[concept for edit in edits for concept in edit.manifest.concepts],
        seed=first.seed,
        versions=first.versions,
        ledger=[edit.manifest.model_dump() for edit in edits],
    )
    return WeightEdit(deltas, manifest)


def difference(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Delta]:
    """Dense changes, float32, of the tensors that differ."""
    return {
        name: Dense((after[name].detach().float() - before[name].detach().float()).cpu())
        for name in after
        if not torch.equal(after[name], before[name])
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
        if part == "delta":
            deltas[name] = Dense(tensor)
        elif part == "up" and f"{name}:down" in tensors:
            deltas[name] = LowRank(tensor, tensors[f"{name}:down"])
        elif not (part == "down" and f"{name}:up" in tensors):
            raise ValueError(f"{path} is not an edit's file: unexpected tensor {key!r}")
    return deltas


def _short(fingerprint: Mapping[str, str]) -> str:
    return next(iter(fingerprint.values()), "unknown")[:12]
