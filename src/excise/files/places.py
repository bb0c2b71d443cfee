"""What files are called."""

from __future__ import annotations

import os
from pathlib import Path

from excise.digests import digest_text

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of picture files."""

CRASH = ".crash"
"""Ending of the file that tells, beside where a result was to be, what a process was at when it crashed."""

_LONGEST = 180
"""Bytes of a name; of the 255 that file systems allow the others are left for endings and for the names of hidden folders."""


def check_path(path: str | Path) -> None:
    """Raise ValueError for a path that no file system takes."""
    long = next((part for part in Path(path).parts if len(os.fsencode(part)) > 255), None)
    if long is not None or len(os.fsencode(path)) > 4095:
        raise ValueError("is too long for a path: at most 4095 bytes, 255 between two slashes")


def at_home(path: str | Path) -> Path:
    """A path with the home folder for a "~" at its beginning, where there is such a folder; otherwise as it is."""
    return Path(os.path.expanduser(path))


def real_path(path: str | Path) -> Path:
    """Where a path leads, links followed: absolute, also of what is not there; links in a circle stay as they are."""
    return Path(os.path.realpath(path))


def fitting(name: str) -> str:
    """A file's name as it is, or if file systems may refuse its length, its beginning with a digest of the whole."""
    if len(name.encode()) <= _LONGEST:
        return name
    ending = f"-{digest_text(name)[:6]}"
    return name.encode()[: _LONGEST - len(ending)].decode(errors="ignore") + ending
