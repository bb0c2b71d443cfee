"""Files of tensors (safetensors): writing them whole, and reading those of strangers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from excise.files.damage import reading
from excise.files.read import read_json
from excise.files.replace import replacing
from excise.shortage import system_error

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""What weights are kept in. Not the eight-bit floats, which need scales that a file of weights does not have."""

COUNTS = frozenset({"I64", "I32"})
"""What indices and numbers of steps are kept in."""


KNOWN = FLOATS | COUNTS | {"I16", "I8", "U8", "BOOL"}
"""What this package writes: answers, masks and pictures too."""


@dataclass(frozen=True)
class Declared:
    """What a file's header says of a tensor; dtype as the format calls it ("F32")."""

    shape: tuple[int, ...]
    dtype: str


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, overwrite: bool = True
) -> None:
    """Write a safetensors file atomically; tensors may be views of each other and on any device; `overwrite` as of `replacing`.

    The same tensors and metadata give the same bytes. Raises OSError when the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    flat: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        flat[name] = tensor.detach().to("cpu").contiguous()
        if flat[name].untyped_storage().data_ptr() in storages:  # the format refuses tensors that share memory
            flat[name] = flat[name].clone()
        storages.add(flat[name].untyped_storage().data_ptr())
    with replacing(path, overwrite=overwrite) as temporary:
        try:
            save_file(flat, str(temporary), dict(metadata) if metadata else None)
        except SafetensorError as error:
            if number := system_error(str(error)):
                raise OSError(number, os.strerror(number), str(path)) from None
            raise OSError(f"{path} could not be written: {error}") from None
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a file that was just written in the order of its keys: safetensors writes them in a random one."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
            file.seek(8)
            file.write(text.ljust(length))  # the format fills its header with spaces


def read_header(path: Path) -> tuple[dict[str, Declared], dict[str, str]]:
    """What a safetensors file says of its tensors, and its metadata; no tensor is read.

    Raises FileNotFoundError if it is not there, ValueError if it is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with reading(path):
        try:
            with safe_open(str(path), "np") as file:  # no torch for a look at the header
                slices = {name: file.get_slice(name) for name in file.keys()}
                found = {name: Declared(tuple(each.get_shape()), str(each.get_dtype())) for name, each in slices.items()}
                return found, dict(file.metadata() or {})
        except SafetensorError as error:
            raise ValueError(f"not a whole safetensors file ({error})") from error


def read_tensors(path: Path, dtypes: frozenset[str] = KNOWN) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file: all of these dtypes, and every number finite.

    Raises FileNotFoundError if it is not there, ValueError if it is not a whole safetensors file, or holds a tensor of another dtype, or
    one with values that are not finite.
    """
    from safetensors import safe_open

    declared, metadata = read_header(path)
    check_dtypes(path, declared, dtypes)
    with reading(path), safe_open(str(path), "pt") as file:
        # copies: where a file's tensors begin in memory, kernels may round otherwise than in memory of torch's own
        tensors = {name: file.get_tensor(name).clone() for name in declared}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} has values that are not finite (NaN or infinity)")
    return tensors, metadata


def check_dtypes(path: Path, declared: Mapping[str, Declared], dtypes: frozenset[str]) -> None:
    """Raise ValueError for a tensor of another dtype."""
    for name, each in declared.items():
        if each.dtype not in dtypes:
            raise ValueError(f"{path} is damaged: {name} is {each.dtype}, expected {', '.join(sorted(dtypes))}")


def check_shapes(path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError that names the first difference of the tensors that a file has from those that it should have."""
    for name, shape in expected.items():
        if name not in found:
            raise ValueError(f"{path} is damaged: it lacks {name} {tuple(shape)}")
        if tuple(found[name]) != tuple(shape):
            raise ValueError(f"{path} is damaged: {name} is {tuple(found[name])}, expected {tuple(shape)}")
    if more := sorted(found.keys() - expected.keys()):
        raise ValueError(f"{path} is damaged: it holds {more[0][:200]!r}, which does not belong there")


def check_shards(folder: Path) -> None:
    """Raise ValueError unless every list of shards (`*.index*.json`) in a folder names `.safetensors` files of this folder alone.

    A loader opens what such a list names: with a path in it, or another ending, it would read a file elsewhere or a pickle.
    """
    for index in sorted(Path(folder).glob("*.index*.json")):
        shards = read_json(index).get("weight_map")
        names = list(shards.values()) if isinstance(shards, dict) else []
        if not names:
            raise ValueError(f"{index} is not a list of shards: it has no weight_map")
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
                raise ValueError(f"{index} names {str(name)[:200]!r}; a shard must be a .safetensors file in the same folder")
