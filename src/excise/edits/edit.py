"""`Edit`: what every kind of edit can do, and what can be done with several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from torch import Tensor

from excise.digests import digest_file
from excise.edits.deltas import Delta
from excise.edits.manifest import EDIT, MANIFEST, TENSORS, Kind, Manifest
from excise.files import FLOATS, check_replaceable, new_result, read_header, read_tensors, reading, write_json, write_tensors
from excise.finite import check_finite
from excise.interrupts import uninterrupted
from excise.models.fingerprint import same_base, short


class Edit(ABC):
    """What every kind of edit can do.

    manifest  base fingerprint, method, concepts, settings, measurements
    parts     label -> what is kept apart so that each can be dropped again (`restored`): a concept's ("object:cat"), or a member's of a
              composition
    deltas    canonical tensor name -> change of that weight; empty for kinds that change none

    An edit goes on an `excise.Model` or on any diffusers pipeline of Stable Diffusion 1.x or 2.x: text to image, image to image, inpainting
    with the base's own U-Net, ControlNet. Pipelines that share a network share the edit on it. The pipeline may be compiled
    (torch.compile), have LoRA adapters, an IP-Adapter, tokens of textual inversion or fused projections, in half or single precision, and
    all of these may come and go while the edit is on. A copy (copy.deepcopy) of an edited pipeline has the edit on, too.

    What cannot be done right is refused before anything changes, in one line that says what to do: quantised or offloaded weights, a LoRA
    fused into the weights, weights that were trained while an edit was on.
    """

    kind: ClassVar[Kind]
    manifest: Manifest
    parts: Mapping[str, Any]
    deltas: Mapping[str, Delta]
    folder: Path | None

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
        """The edit is on inside the `with` block, and off after it, whatever ends it: Ctrl-C waits until it is wholly on or off."""
        with uninterrupted() as heard:
            self.apply(model, scale)
            try:
                with heard():
                    yield
            finally:
                self.remove(model)

    @abstractmethod
    def check_base(self, model: Any) -> None:
        """Raise ValueError unless `model` (without its edits) is the base that this edit names, and has what it changes."""

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """The same edit, `factor` times as strong."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What the file holds."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: an edit never changes, so a copied pipeline has the same one on."""
        return self

    def check_finite(self) -> None:
        """Raise FloatingPointError for a change that is not finite, which nothing would read again."""
        check_finite(self.tensors(), "the edit")

    @property
    def called(self) -> str:
        """What messages call it: where it was read from, if it was."""
        return "this edit" if self.folder is None else str(self.folder)

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

        Raises FileExistsError if the folder is not empty, unless it holds an edit and nothing else, and `overwrite` is set.
        """
        folder = Path(folder)
        check_replaceable(folder, EDIT, overwrite)
        with new_result(folder, EDIT, overwrite) as temporary:
            self.write(temporary)

    def write(self, folder: Path) -> None:
        """Write the two files into an existing folder. Raises FloatingPointError, with nothing written, for a change that is not finite."""
        self.check_finite()
        metadata = {"excise": self.manifest.model}  # one key: the order of several is random
        write_tensors(folder / TENSORS, self.tensors(), metadata)
        update = {"weights_sha256": digest_file(folder / TENSORS)}
        write_json(folder / MANIFEST, self.manifest.model_copy(update=update).model_dump())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read an edit's folder.

        Raises FileNotFoundError if a file is not there, ValueError if one is damaged, foreign, of another kind of edit, or does not
        belong to the other.
        """
        manifest, tensors = read_files(Path(folder))
        if manifest.kind != cls.kind:
            raise ValueError(f"{folder} holds an edit of kind {manifest.kind!r}, not {cls.kind!r}; read it with load_edit")
        with reading(Path(folder) / TENSORS):
            return replace(cls.parse(tensors, manifest), folder=Path(folder))  # type: ignore[type-var]

    @classmethod
    @abstractmethod
    def parse(cls, tensors: Mapping[str, Tensor], manifest: Manifest) -> Self:
        """The edit that the tensors of a file are. Raises ValueError if they are not one."""


def read_files(folder: Path) -> tuple[Manifest, dict[str, Tensor]]:
    """What the two files of an edit's folder hold; raises what `Edit.from_pretrained` does."""
    manifest = Manifest.of(folder)
    read_header(folder / TENSORS)  # before its digest is made, which takes long of a large file that is none
    if digest_file(folder / TENSORS) != manifest.weights_sha256:
        raise ValueError(f"{folder / TENSORS} is not the file that {MANIFEST} describes (its SHA-256 differs)")
    return manifest, read_tensors(folder / TENSORS, FLOATS)[0]


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
            raise ValueError(f"edits of different bases do not compose: {short(first.base)} and {short(edit.manifest.base)}")
    parts: dict[str, Any] = {}
    for number, edit in enumerate(edits):
        parts |= {f"{number}/{label}": part for label, part in edit.parts.items()} or {str(number): edit.deltas}
    manifest = Manifest(
        kind=first.kind,
        model=first.model,
        base=first.base,
        family=first.family,
        method="+".join(dict.fromkeys(edit.manifest.method for edit in edits)),
        concepts=[concept for edit in edits for concept in edit.manifest.concepts],
        seed=first.seed,
        versions=first.versions,
        ledger=[edit.manifest.model_dump() for edit in edits],
    )
    return type(edits[0]).of_parts(parts, manifest)
