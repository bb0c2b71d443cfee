"""Writing so that a kill at any moment leaves the old file or the new one."""

from __future__ import annotations

import ctypes
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
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


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path`, locked and at the end deleted; what killed processes left of theirs is tidied up first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
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


def recover(path: Path) -> None:
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
