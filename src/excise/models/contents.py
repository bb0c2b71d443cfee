"""The files that a diffusers folder consists of, each looked at before one of them is copied. No torch here."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from excise.files import real_path
from excise.models.names import INDEX, describe, model_index

BESIDE = re.compile(r"(readme|licen[cs]e|notice|copying)[^/]*", re.IGNORECASE)
"""Names of files beside the components that say what a model is and how it may be used."""


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a model by their names in its folder: of each a regular file with its content.

    They are those of the components that `model_index.json` names, that list itself, `excise.json` with its classifier, README and licence.
    Whatever else lies there is not the model's. A link may lead to a file in the same folder or, in the hub's cache, in the same repository.

    Raises ValueError, naming the file, for any other link, and for what is neither a file nor a folder.
    """
    within = _repository(real_path(folder))
    return {path.relative_to(folder).as_posix(): _regular(path, within) for path in _paths(folder)}


def _repository(folder: Path) -> Path:
    """What a folder's links may lead to: the folder itself, or the repository in the hub's cache of which it is a snapshot."""
    repository = folder.parent.parent
    in_cache = folder.parent.name == "snapshots" and (repository / "blobs").is_dir()
    return repository if in_cache else folder


def _paths(folder: Path) -> Iterator[Path]:
    """Everything that belongs to the model but folders."""
    classifier = describe(folder).classifier
    named = {INDEX, "excise.json", *([classifier.name] if classifier else [])}
    yield from (
        path
        for path in sorted(folder.iterdir())
        if path.name in named or (BESIDE.fullmatch(path.name) and (path.is_symlink() or not path.is_dir()))
    )
    for part, kind in model_index(folder).items():
        if isinstance(kind, list) and any(kind) and part == Path(part).name and part[:1] not in ("", "."):
            yield from _below(folder / part)


def _below(path: Path) -> Iterator[Path]:
    """The path itself, or of a folder that is no link everything in it."""
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.iterdir()):
            yield from _below(inner)
    elif path.is_symlink() or path.exists():
        yield path


def _regular(path: Path, within: Path) -> Path:
    """The file itself, or the one that a link leads to."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        mode = real.stat().st_mode
    except OSError:  # a link to nothing, or in a circle
        raise ValueError(f"{path} is a link that leads to no file; nothing was written") from None
    if not real.is_relative_to(within):
        raise ValueError(f"{path} is a link that leads out of {within}, to {real}; put the file itself there to have it copied")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {'a link to a folder' if stat.S_ISDIR(mode) else 'no regular file'}, which is not copied")
    return real


LARGE = 256 * 2**20
"""Bytes of weights above which what a model takes is worth telling (ours): smaller ones fit anywhere."""


def is_large(where: Path | str) -> bool:
    """Whether a folder or a file holds more weights than `LARGE`; a model on the hub, which is not here, does not."""
    if isinstance(where, str):
        return False
    files = [where] if where.is_file() else where.glob("*/*.safetensors")
    return sum(file.stat().st_size for file in files) > LARGE
