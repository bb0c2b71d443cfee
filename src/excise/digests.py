"""SHA-256 of bytes, texts, tensors, files and plain values, as 64 hexadecimal digits: what makes a number is recorded by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, dtype


def digest_bytes(data: bytes) -> str:
    """Over bytes as they are."""
    return hashlib.sha256(data).hexdigest()


def digest_text(text: str) -> str:
    """Over a text in UTF-8."""
    return digest_bytes(text.encode())


def digest_tensors(tensors: Mapping[str, Tensor], cast: dtype | None = None) -> str:
    """Over sorted names, shapes, dtypes and bytes; with `cast` over the bytes in that dtype, whatever dtypes the tensors have."""
    return digest_casts(tensors, [cast])[0]


def digest_casts(tensors: Mapping[str, Tensor], casts: Sequence[dtype | None]) -> list[str]:
    """The same tensors by `digest_tensors` with each of these casts, in one pass and a thread each."""
    found = [hashlib.sha256() for _ in casts]
    with ThreadPoolExecutor(len(casts)) as threads:
        each = threads.map if len(casts) > 1 else map
        for name in sorted(tensors):
            list(each(partial(_add, name, tensors[name]), found, casts))
    return [one.hexdigest() for one in found]


def _add(name: str, tensor: Tensor, found: Any, cast: dtype | None) -> None:
    """Add a tensor to a digest."""
    import torch

    told = tensor.detach().to("cpu", cast).contiguous()
    found.update(f"{name}{tuple(told.shape)}{'' if cast else told.dtype}".encode())
    found.update(told.reshape(-1).view(torch.uint8).numpy().data)


def digest_file(path: Path) -> str:
    """Over a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(path: Path) -> str:
    """Over the names and bytes of all files of a folder, sorted; hidden ones left out."""
    names = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
    seen = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return digest_text("".join(f"{name.as_posix()} {digest_file(path / name)}\n" for name in seen))


def digest_values(values: Any) -> str:
    """Over plain values as JSON."""
    return digest_text(json.dumps(values, sort_keys=True, default=str))
