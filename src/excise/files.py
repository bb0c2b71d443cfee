"""Writing files so that a kill at any moment leaves the old file or the new one, and reading JSON and tensors safely."""

from __future__ import annotations

import codecs
import ctypes
import glob
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.digests import digest_text

if TYPE_CHECKING:
    from torch import Tensor

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of picture files."""

_LONGEST = 180
"""Bytes of a name; of the 255 that file systems allow the others are left for endings and for the names of hidden folders."""

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
"""Names of the hidden folders that are written in."""

_NEW, _OLD = "new", "old"
"""In them: what is being written, and what was moved out of its way."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is flushed to disk and renamed over `path`.

    If the body raises, the temporary file is deleted and `path` is as it was. Raises OSError when the disk is full.
    """
    path = Path(path)
    with _beside(path) as hidden:
        yield hidden / _NEW
        _flush(hidden / _NEW)
        os.chmod(hidden / _NEW, 0o666 & ~_umask())  # some writers make files for one user alone
        os.replace(hidden / _NEW, path)
        _flush(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; on success all its files are flushed and it takes the place of `path`.

    If the body raises, the temporary folder is deleted and `path` is as it was. A folder that is replaced is exchanged with the
    new one in one step, so that a kill at any moment leaves one of the two there; where the system or its disk cannot do that, a kill
    may leave the old one aside until `path` is looked at or written again.

    Raises NotADirectoryError if `path` is a file.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a folder is to be written there")
    with _beside(path) as hidden:
        new = hidden / _NEW
        new.mkdir()
        yield new
        for file in new.rglob("*"):
            _flush(file)
        if path.exists():
            _exchange(new, path, hidden / _OLD)
        else:
            os.replace(new, path)
        _flush(path.parent)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Inside the block nobody else can lock the folder; false where the system cannot do that.

    Raises BlockingIOError if somebody else has locked it, FileNotFoundError if it is not there (any more).
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        held = _lock(handle)
        if not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise FileNotFoundError(f"{folder} was replaced meanwhile")
        yield held
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """Where things that can be made again are kept: `$EXCISE_CACHE`, or `excise` in the user's cache folder."""
    if "EXCISE_CACHE" in os.environ:
        return Path(os.environ["EXCISE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "excise"


def vacant(path: Path) -> bool:
    """Whether nothing is at `path`, or a folder that is empty but for what killed writes left."""
    return not path.exists() or (path.is_dir() and all(_TEMPORARY.fullmatch(name) for name in os.listdir(path)))


def check_ours(folder: Path, marker: str) -> None:
    """Raise FileExistsError unless `folder` is vacant or holds `marker`, the file that every such result has."""
    if not vacant(folder) and not (folder / marker).is_file():
        raise FileExistsError(
            f"{folder} exists and is not a result that could be replaced (it has no {marker}); choose another path"
        )


def check_replaceable(folder: Path, marker: str, overwrite: bool) -> None:
    """Raise FileExistsError unless a result may be written to `folder`.

    It may if it is not there, or empty, or `overwrite` is set and it holds `marker`, the file that every such result has. A folder
    of anything else is never replaced, and a mount point cannot be.
    """
    _recover(folder.resolve())
    if os.path.ismount(folder.resolve()):
        raise FileExistsError(f"{folder} is a mount point, which cannot be replaced; give a folder in it")
    check_ours(folder, marker)
    if not vacant(folder) and not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, or pass overwrite to replace it")


def check_new_file(path: str | Path | None, overwrite: bool) -> None:
    """Raise FileExistsError if a file is there and may not be replaced, or a folder is there; NotADirectoryError or PermissionError where
    nothing can be written."""
    if path is None:
        return
    above = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise PermissionError(f"{path} cannot be written: no permission to write into {above}")
    if not Path(path).exists():
        return
    if not Path(path).is_file():
        raise FileExistsError(f"{path} is a folder; give a file's path")
    if not overwrite:
        raise FileExistsError(f"{path} exists; choose another path, or pass overwrite to replace it")


def fitting(name: str) -> str:
    """A file's name as it is, or if file systems may refuse its length, its beginning with a digest of the whole."""
    if len(name.encode()) <= _LONGEST:
        return name
    ending = f"-{digest_text(name)[:6]}"
    return name.encode()[: _LONGEST - len(ending)].decode(errors="ignore") + ending


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """What a text file in UTF-8 holds, without the byte order mark that it may begin with.

    Raises ValueError that names the first line that is no UTF-8, such as one in Latin-1, or for UTF-16.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    wrong, what = data.find(b"\0"), "NUL, which is no text (UTF-16 has it)"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        wrong, what = error.start, f"byte 0x{data[error.start]:02x} is not UTF-8 (Latin-1?)"
    if wrong >= 0:
        line = data[:wrong].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: {what}; save it as UTF-8")
    return text


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


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path`, locked and at the end deleted; what killed processes left of theirs is tidied up first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _recover(path)
    with ExitStack() as on:
        hidden = _claimed(path, on)
        on.callback(_tidy, hidden, path)
        yield hidden


def _claimed(path: Path, on: ExitStack) -> Path:
    """A new hidden folder beside `path`, locked until `on` closes."""
    while True:
        hidden = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        with suppress(BlockingIOError, FileNotFoundError):  # somebody took it for a leftover before it was locked
            on.enter_context(locked(hidden))
            return hidden


def _recover(path: Path) -> None:
    """Tidy up the hidden folders beside `path` that nobody writes in any more."""
    for hidden in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        with suppress(OSError), locked(hidden) as held:
            if held:
                _tidy(hidden, path)


def _tidy(hidden: Path, path: Path) -> None:
    """Delete a hidden folder, after what was moved into it from `path` is back there if nothing took its place."""
    if (hidden / _OLD).exists() and not path.exists():
        os.replace(hidden / _OLD, path)
    shutil.rmtree(hidden, ignore_errors=True)


def _exchange(new: Path, path: Path, aside: Path) -> None:
    """Put `new` in the place of `path`: in one step on Linux, in two renames by way of `aside` where the system or its disk cannot."""
    at_cwd, exchange = -100, 2
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is not None and renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(path), exchange) == 0:
        return
    os.replace(path, aside)
    os.replace(new, path)


def _lock(handle: int) -> bool:
    """Lock an open folder if the system can. Raises BlockingIOError if it is locked already."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # not POSIX, or a disk without locks
        return False
    return True


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
