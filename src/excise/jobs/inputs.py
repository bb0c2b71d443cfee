"""What several jobs do with paths and seeds that a user gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from excise.concepts import Catalog, Concept

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.models import Model


def check_seed(seed: int) -> None:
    """Raise ValueError for one that generators may not take."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0..{2**32 - 1}, not {seed}")


def check_new_file(path: str | Path | None, overwrite: bool) -> None:
    """Raise FileExistsError if a file is there and may not be replaced, or a folder is there; NotADirectoryError or PermissionError where
    nothing can be written."""
    if path is None:
        return
    above = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise PermissionError(f"{path} cannot be written: no permission to write into {above}")
    if not Path(path).exists():
        return
    if not Path(path).is_file():
        raise FileExistsError(f"{path} is a folder; give a file's path")
    if not overwrite:
        raise FileExistsError(f"{path} exists; choose another path, or pass overwrite to replace it")


def read_edits(edit: str | Path | Sequence[str | Path]) -> list[Edit]:
    """The edits in one or more folders, in order. Raises FileNotFoundError or ValueError."""
    from excise.edits import load_edit

    folders = [edit] if isinstance(edit, str | Path) else edit
    return [load_edit(folder) for folder in folders]


def load_base(model: str | Path, edits: Sequence[Edit], device: str | None, dtype: str) -> Model:
    """The loaded model. Raises ValueError for an edit that was made for another one: at once, not when the edit's turn comes."""
    from excise.models import load

    loaded = load(model, device=device, dtype=dtype)
    for edit in edits:
        edit.check_base(loaded)
    return loaded


def erased_concepts(edits: Sequence[Edit], catalog: Catalog) -> list[Concept]:
    """What edits say they erase, each concept once, named also by the phrases that it was erased with.

    Raises ValueError for a concept that a closed catalog does not have.
    """
    phrases: dict[str, list[str]] = {}
    for edit in edits:
        for label, concept in zip(edit.manifest.names, edit.manifest.concepts, strict=True):
            phrases.setdefault(label, []).extend(concept.get("phrases", ()))
    return [catalog.resolve(label, also=tuple(dict.fromkeys(also))) for label, also in phrases.items()]
