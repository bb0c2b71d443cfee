"""Writing files so that a kill at any moment leaves the old file or the new one, and reading JSON and tensors safely."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is flushed to disk and renamed over `path`.

    If the body raises, the temporary file is deleted and `path` is as it was. Raises OSError when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; on success all its files are flushed and it takes the place of `path`.

    If the body raises, the temporary folder is deleted and `path` is as it was. A folder that is replaced is exchanged with the
    new one in one step, so that a kill at any moment leaves one of the two there.

    Raises NotADirectoryError if `path` is a file.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a folder is to be written there")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _flush(file)
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            _exchange(temporary, path)
        else:
            os.replace(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cache_folder() -> Path:
    """Where things that can be made again are kept: `$EXCISE_CACHE`, or `excise` in the user's cache folder."""
    if "EXCISE_CACHE" in os.environ:
        return Path(os.environ["EXCISE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "excise"


def check_replaceable(folder: Path, marker: str, overwrite: bool) -> None:
    """Raise FileExistsError unless a result may be written to `folder`.

    It may if it is not there, or empty, or `overwrite` is set and it holds `marker`, the file that every such result has. A folder
    of anything else is never replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / marker).is_file():
        raise FileExistsError(
            f"{folder} exists and is not a result that could be replaced (it has no {marker}); choose another path"
        )
    if not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, or pass overwrite to replace it")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, kind: type = dict) -> Any:
    """What a JSON file holds: an object as a dict, or with `kind=list` an array as a list.

    Raises FileNotFoundError if it is not there, ValueError if it is not a whole JSON file of that kind.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole JSON file ({error})") from None
    if not isinstance(data, kind):
        raise ValueError(f"{path} is not a whole JSON file (it holds a {type(data).__name__} instead of a {kind.__name__})")
    return data


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically; tensors may be views of each other and on any device.

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
    with replacing(path) as temporary:
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


def _exchange(one: Path, other: Path) -> None:
    """Let two paths swap what they name: in one step on Linux, in three renames where the system or its disk cannot."""
    at_cwd, exchange = -100, 2
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is not None and renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0:
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{other.name}.", suffix=".old", dir=other.parent))
    os.replace(other, aside / other.name)
    os.replace(one, other)
    os.replace(aside / other.name, one)
    aside.rmdir()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
