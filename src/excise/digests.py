"""SHA-256 of tensors, of files and of plain values: what makes a number is recorded by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Over sorted names, shapes, dtypes and bytes."""
    import torch

    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def digest_file(path: Path) -> str:
    """Over a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(path: Path) -> str:
    """Over the names and bytes of all files of a folder, sorted; hidden ones left out."""
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            found.update(f"{name.as_posix()} {digest_file(file)}\n".encode())
    return found.hexdigest()


def digest_values(values: Any) -> str:
    """Over plain values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
