"""The manifest of an edit: everything needed to trace it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, ValidationError, with_config
from typing_extensions import TypedDict

from excise import bounds
from excise.files import WRITTEN, FolderKind, problem, read_json
from excise.quoting import cut
from excise.results.erasure import ErasureResult

TENSORS, MANIFEST = "edit.safetensors", "edit.json"
"""The files of an edit's folder."""

FORMAT = 1
Kind = Literal["weights", "adapter"]
Phrase = Annotated[str, Field(min_length=1, max_length=bounds.NAME)]
Number = Annotated[int | float, Field(allow_inf_nan=False)]


@with_config(ConfigDict(extra="allow"))
class Erased(TypedDict):
    """A concept, as `Concept.to_dict` gives it."""

    name: Phrase
    kind: Phrase
    phrases: NotRequired[list[Phrase]]


@with_config(ConfigDict(extra="allow"))
class SetTo(TypedDict):
    """Settings of a method, and how strong the edit was made since."""

    scale: NotRequired[Number]


@with_config(ConfigDict(extra="allow"))
class Measured(TypedDict):
    """What the method says of its edit, or what an `ErasureResult` holds; both may say what the erasure cost."""

    seconds: NotRequired[Number | None]
    peak_mb: NotRequired[Number | None]


class Hardened(TypedDict):
    """What was found in audits and erased too: how many counterexamples each attack gave, and their SHA-256."""

    attacks: dict[str, int]
    sha256: str


class Manifest(BaseModel):
    """What `edit.json` holds.

    kind         what is in the other file: changes of weights, or adapters whose strength depends on the prompt
    base         fingerprints of the model the edit was made for, by dtype
    family       of that model, such as "Stable Diffusion XL"; None where it is not known (in edits of before)
    dtype        how the model computed when it was made: float32, float16, bfloat16 or mixed; device: "cpu", "cuda", ...; None where
                 it is not known, and of a composition, whose members may differ
    long_prompts "chunk" where the model read prompts of the concepts in chunks, of which another model would cut the end; else None
    hardened     what was found in audits and erased too: how many counterexamples each attack gave, and their SHA-256
    ledger       manifests of the edits that this one contains or was trained on top of, oldest first
    restored     concepts that were erased and given back
    measurements what the method says of its edit, or what an `ErasureResult` holds
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    format: int = FORMAT
    kind: Kind = "weights"
    model: str
    base: dict[str, str]
    family: str | None = None
    method: str
    concepts: list[Erased]
    settings: SetTo = Field(default_factory=lambda: SetTo())
    seed: int = 0
    hardened: Hardened | None = None
    dtype: str | None = None
    device: str | None = None
    long_prompts: Literal["chunk"] | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str = ""
    measurements: Measured = Field(default_factory=lambda: Measured())
    ledger: list[dict[str, Any]] = Field(default_factory=list)
    restored: list[Erased] = Field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read `edit.json`. Raises ValueError in one line if it is of another format, or not a manifest, or one in its ledger is not."""
        return cls.parse(read_json(path), path)

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: Path) -> Manifest:
        """The manifest in the content of a file. Raises what `read` does."""
        data = {
            key: value for key, value in data.items() if key != WRITTEN
        }  # what else is in the folder says nothing of the edit
        found = data.get("format", FORMAT)
        if found != FORMAT:
            raise ValueError(f"{path} has format {cut(str(found))}; this version of excise reads format {FORMAT}")
        if wrong := _problem(data):
            raise ValueError(f"{path} is not the manifest of an edit: {wrong}")
        return cls.model_validate(data)

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """The manifest of the edit in a folder. Raises FileNotFoundError if the folder is none of an edit, ValueError as `read` does."""
        if not folder.is_dir():
            raise FileNotFoundError(f"no such edit: {folder} is not a folder")
        for name in (MANIFEST, TENSORS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder} is not an edit: it has no {name}")
        return cls.read(folder / MANIFEST)

    def result(self, path: Path) -> ErasureResult | None:
        """What was measured of the edit; None if nothing was. `path` is where the manifest was read, for errors.

        Raises ValueError in one line for measurements of an earlier format.
        """
        kept = self.measurements
        return ErasureResult.parse(kept, path) if "kind" in kept or "ua" in kept else None

    @property
    def names(self) -> list[str]:
        """Labels of the erased concepts, such as "object:cat"."""
        return [_label(concept) for concept in self.concepts]

    @property
    def composed(self) -> bool:
        """Whether several edits were put together: they are the ledger then, and there are no settings of a method."""
        return bool(self.ledger) and self.settings.keys() <= {"scale"}

    def without(self, labels: Collection[str]) -> Manifest:
        """The manifest of the edit without its part of some concepts: nothing that was measured holds any more."""
        split: tuple[list[Erased], list[Erased]] = ([], [])
        for concept in self.concepts:
            split[_label(concept) in labels].append(concept)
        kept, restored = split
        return self.model_copy(update={"concepts": kept, "restored": [*self.restored, *restored], "measurements": {}})

    def scaled(self, factor: float) -> Manifest:
        """The manifest of the edit `factor` times as strong: nothing that was measured holds any more."""
        settings = {**self.settings, "scale": factor * self.settings.get("scale", 1.0)}
        return self.model_copy(update={"settings": settings, "measurements": {}})


EDIT = FolderKind(MANIFEST, Manifest.read, earlier=r"edit\.safetensors|result\.json|README\.md|before_after\.png")
"""The folder of an edit, with what was measured of it or without."""


def _problem(data: Mapping[str, Any], place: tuple[str | int, ...] = ()) -> str | None:
    """The first thing that is wrong with a manifest, or with one in its ledger, and where."""
    try:
        entries = enumerate(Manifest.model_validate(data).ledger)
    except ValidationError as error:
        return problem(error, place)
    return next((found for number, entry in entries if (found := _problem(entry, (*place, "ledger", number)))), None)


def _label(concept: Erased) -> str:
    return f"{concept['kind']}:{concept['name']}"
