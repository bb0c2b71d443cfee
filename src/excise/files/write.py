"""Writing text, JSON and copies: whole files or none."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from excise.files.replace import replacing


def write_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write UTF-8 text atomically; `overwrite` as of `replacing`."""
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a regular file, not of a link or a device. Raises ValueError for another kind, OSError when the disk is full."""
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as content:
        if not stat.S_ISREG(os.fstat(content.fileno()).st_mode):
            raise ValueError(f"{source} is no regular file")
        with replacing(target) as temporary, temporary.open("wb") as copy:
            shutil.copyfileobj(content, copy, 2**20)
