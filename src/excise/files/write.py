"""Writing text, JSON and copies: whole files or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from excise.files.read import open_regular
from excise.files.replace import replacing

STDOUT = Path("-")
"""What stands for standard output where a file is named that may go there."""


def write_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write UTF-8 text atomically; `overwrite` as of `replacing`."""
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a regular file atomically, with the mode that new files have.

    Raises ValueError for what is no regular file, OSError when the disk is full.
    """
    with open_regular(source) as content, replacing(target) as temporary, temporary.open("wb") as copy:
        shutil.copyfileobj(content, copy, 2**20)
