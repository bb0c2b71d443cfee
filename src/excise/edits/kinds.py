"""The kinds of edits, and reading one of whatever kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from excise.edits.adapter import AdapterEdit
from excise.edits.edit import Edit, read_files
from excise.edits.manifest import TENSORS, Kind
from excise.edits.weight_edit import WeightEdit
from excise.files import reading

KINDS: dict[Kind, type[Edit]] = {kind.kind: kind for kind in (WeightEdit, AdapterEdit)}


def load_edit(folder: str | Path) -> Edit:
    """Read an edit's folder, of whatever kind it is; raises what `Edit.from_pretrained` does."""
    manifest, tensors = read_files(Path(folder))
    with reading(Path(folder) / TENSORS):
        edit = KINDS[manifest.kind].parse(tensors, manifest)
    return replace(edit, folder=Path(folder))  # type: ignore[type-var]
