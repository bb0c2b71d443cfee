"""What files are called, and where those are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from excise.digests import digest_text

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of picture files."""

_LONGEST = 180
"""Bytes of a name; of the 255 that file systems allow the others are left for endings and for the names of hidden folders."""


def cache_folder() -> Path:
    """Where things that can be made again are kept: `$EXCISE_CACHE`, or `excise` in the user's cache folder."""
    if "EXCISE_CACHE" in os.environ:
        return Path(os.environ["EXCISE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "excise"


def fitting(name: str) -> str:
    """A file's name as it is, or if file systems may refuse its length, its beginning with a digest of the whole."""
    if len(name.encode()) <= _LONGEST:
        return name
    ending = f"-{digest_text(name)[:6]}"
    return name.encode()[: _LONGEST - len(ending)].decode(errors="ignore") + ending
