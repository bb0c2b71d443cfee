"""Models and edits that several jobs load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from excise.concepts import Concept
from excise.edits import Edit, import_edit, load_edit
from excise.edits.importing import is_partial
from excise.models import Model, load
from excise.progress import Progress


def read_edits(folders: Sequence[Path]) -> list[Edit]:
    """The edits in these folders, in order. Raises FileNotFoundError or ValueError."""
    return [load_edit(folder) for folder in folders]


def load_edited(
    model: str, edits: Sequence[Edit], device: str | None, dtype: str, progress: Progress, base: str | None = None
) -> tuple[Model, list[Edit]]:
    """A loaded model and its edits.

    base  what `model` was made from, if it was erased elsewhere: then the base is loaded, and what makes it the other model is the edit,
          so that one network stays

    Raises ValueError for an edit that was made for another model: at once, not when the edit's turn comes.
    """
    progress("loading the model", 0, 1)
    loaded = load(model if base is None else base, device=device, dtype=dtype)
    for edit in edits:
        edit.check_base(loaded)
    found = list(edits) if base is None else [difference(loaded, model, device, dtype)]
    progress("loading the model", 1, 1)
    return loaded, found


def difference(base: Model, erased: str, device: str | None, dtype: str, concepts: Sequence[Concept] = ()) -> Edit:
    """What makes `base` the erased model, which may be a file with some of the U-Net's tensors."""
    other = erased if is_partial(erased) else load(erased, device=device, dtype=dtype)
    return import_edit(base, other, concepts=tuple(concept.to_dict() for concept in concepts))
