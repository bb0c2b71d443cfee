"""Whether two results are the same to the bit, but for times."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

VOLATILE = {"seconds", "peak_mb", "machine", "created", "gen_s", "eval_s", "timings", "versions", "files"}
"""Keys of what a run took, and of where a model's files were."""

OWNED = {"written"}
"""Keys of the names of files that a result owns, in any order."""

_PAGES = (".html", ".md", ".csv", ".svg")
"""Files that show those numbers; they are made of the others, so it is enough that they are there."""


def content(path: Path) -> dict[str, str]:
    """What a result holds: of every file its digest, by its path in the result."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    return {
        str(file.relative_to(path)): _digest(file)
        for file in files
        if file.is_file() and not re.search(r"\.part(/|$)|/\.[^/]+\.lock$", str(file))
    }


def _digest(file: Path) -> str:
    if file.suffix in _PAGES or "report-figures" in file.parts:
        return "there" if file.stat().st_size else "empty"
    data = file.read_bytes()
    if file.suffix == ".json":
        data = json.dumps(_lasting(json.loads(data)), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        value = {**value, **{key: sorted(value[key]) for key in OWNED & value.keys()}}
        return {key: _lasting(each) for key, each in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [_lasting(each) for each in value]
    return value
