"""Files of tensors (safetensors): writing them whole, and reading those of strangers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from excise.files.read import read_json
from excise.files.replace import replacing

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, overwrite: bool = True
) -> None:
    """Write a safetensors file atomically; tensors may be views of each other and on any device; `overwrite` as of `replacing`.

    Raises OSError when the disk is full.
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
            raise OSError(f"{path} could not be written: {error}") from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises FileNotFoundError if it is not there, ValueError if it is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(str(path), "pt") as file:
            # copies: where a file's tensors begin in memory, kernels may round otherwise than in memory of torch's own
            return {name: file.get_tensor(name).clone() for name in file.keys()}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from None


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
