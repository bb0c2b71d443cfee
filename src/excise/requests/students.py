"""The folders of students: models that were pruned or that learned from a teacher."""

from __future__ import annotations

from pathlib import Path

from excise.files import FolderKind, real_path
from excise.models.names import MODEL_FILES
from excise.results.student import MARKER, StudentFile

STUDENT = FolderKind(MARKER, StudentFile.read, earlier=rf"{MODEL_FILES}|edit/edit\.(json|safetensors)")
"""A diffusers folder; its marker says where the model comes from."""


def read_student(folder: Path | str) -> StudentFile | None:
    """What is known of a model as a student; None of one that excise did not make. Raises ValueError for a damaged file."""
    path = Path(folder) / STUDENT.marker
    return StudentFile.read(path) if path.is_file() else None


def check_outside(out: Path, *models: Path | str) -> None:
    """Raise ValueError for an output in the folder of a model that is read."""
    for model in models:
        if isinstance(model, Path) and real_path(out).is_relative_to(real_path(model)):
            raise ValueError(f"{out} lies in the folder of the model {model}, which is never changed; choose another path")


def check_whole_model(where: Path | str) -> None:
    """Raise ValueError for a model that was pruned: the layout of one file has names for the blocks of published sizes alone."""
    known = read_student(where) if isinstance(where, Path) and where.is_dir() else None
    if known is not None and known.pruning is not None:
        raise ValueError(f"{where} is a pruned model, which nobody reads from one file; give a folder")
