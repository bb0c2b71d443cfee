"""Writing text and JSON: whole files or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from excise.files.replace import replacing


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
