"""What may be replaced: the package's own results, never anything else."""

from __future__ import annotations

import os
from pathlib import Path

from excise.files.replace import TEMPORARY, recover


def vacant(path: Path) -> bool:
    """Whether nothing is at `path`, or a folder that is empty but for what killed writes left."""
    return not path.exists() or (path.is_dir() and all(TEMPORARY.fullmatch(name) for name in os.listdir(path)))


def check_ours(folder: Path, marker: str) -> None:
    """Raise FileExistsError unless `folder` is vacant or holds `marker`, the file that every such result has."""
    if not vacant(folder) and not (folder / marker).is_file():
        raise FileExistsError(
            f"{folder} exists and is not a result that could be replaced (it has no {marker}); choose another path"
        )


def check_replaceable(folder: Path, marker: str, overwrite: bool) -> None:
    """Raise FileExistsError unless a result may be written to `folder`.

    It may if it is not there, or empty, or `overwrite` is set and it holds `marker`, the file that every such result has. A folder
    of anything else is never replaced, and a mount point cannot be.
    """
    recover(folder.resolve())
    if os.path.ismount(folder.resolve()):
        raise FileExistsError(f"{folder} is a mount point, which cannot be replaced; give a folder in it")
    check_ours(folder, marker)
    if not vacant(folder) and not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, or pass overwrite to replace it")


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
