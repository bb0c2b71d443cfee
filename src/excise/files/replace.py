"""Writing so that a kill at any moment leaves the old file or the new one."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

from excise.files.leftovers import cleared
from excise.files.locks import locked
from excise.files.places import real_path

TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
"""Names of the hidden folders that are written in."""

_NEW, _OLD = "new", "old"
"""In them: what is being written, and what was moved out of its way."""


class PathTaken(OSError):
    """Something else came to a path while a run worked. It was left alone, and the message says where the result was put instead."""


@contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is flushed to disk and renamed over `path`.

    overwrite  whether a file may be there; if not, one that came meanwhile is left alone: the new one gets a free name beside it

    If the body raises, the temporary file is deleted and `path` is as it was. Raises OSError when the disk is full, PathTaken if the new file
    got another name.
    """
    path = Path(path)
    with _beside(path) as hidden:
        new = hidden / _NEW
        yield new
        _flush(new)
        os.chmod(new, 0o666 & ~_umask())  # some writers make files for one user alone
        if overwrite:
            os.replace(new, path)
        else:
            with _kept_beside(new, path):
                _rename(new, path)
        _flush(path.parent)


Own = Callable[[Path], Collection[str]]
"""Which files of a folder may be deleted with it, by their names in it. Raises FileExistsError if the folder may not be replaced."""


@contextmanager
def replacing_folder(path: Path, own: Own | None = None) -> Iterator[Path]:
    """A temporary folder beside `path`; on success all its files are flushed and it takes the place of `path`.

    own  asked when the new folder is whole; None: whatever is there is replaced

    If the body raises, the temporary folder is deleted and `path` is as it was. A folder that is replaced is exchanged with the
    new one in one step, so that a kill at any moment leaves one of the two there; where the system or its disk cannot do that, a kill
    may leave the old one aside until `path` is looked at or written again. Only its own files are deleted; others that come in the last
    instant are kept beside `path`, with a warning.

    Raises NotADirectoryError if `path` is a file; PathTaken if it may not be replaced in the end: then the new folder has a free name beside.
    """
    path = real_path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a folder is to be written there")
    with _beside(path) as hidden:
        new = hidden / _NEW
        new.mkdir()
        yield new
        mask = _umask()
        for file in new.rglob("*"):
            os.chmod(file, (0o777 if file.is_dir() else 0o666) & ~mask)
            _flush(file)
        with _kept_beside(new, path):
            files = own(path) if own else None
            if files is None and path.is_dir():
                _exchange(new, path, hidden / _OLD)  # what was there goes with the hidden folder
            elif files:
                old = _exchange(new, path, hidden / _OLD)
                delete_files(old, files)
                if old.exists():
                    kept = _put_beside(old, path)
                    warnings.warn(f"files that came to {path} while it was replaced are kept in {kept}", stacklevel=3)
            else:
                delete_files(path, ())
                os.rename(new, path)  # which replaces nothing but an empty folder
        _flush(path.parent)


@contextmanager
def _kept_beside(new: Path, path: Path) -> Iterator[None]:
    """If the block finds that `path` is taken, `new` gets a free name beside it, and PathTaken says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, None):
            raise
        why = f"{path} came while this run worked, and was not replaced" if error.errno else str(error)
        raise PathTaken(f"{why}; the result is not lost: {_put_beside(new, path)}") from None


def _put_beside(new: Path, path: Path) -> Path:
    """Rename to the first free name beside `path`, and return it: NAME-2 of a folder, STEM-2.ENDING of a file, and so on."""
    stem, ending = (path.name, "") if new.is_dir() else (path.stem, path.suffix)
    for number in count(2):
        free = path.with_name(f"{stem}-{number}{ending}")
        if not os.path.lexists(free):
            with suppress(FileExistsError):
                (os.rename if new.is_dir() else _rename)(new, free)
                return free
    raise AssertionError


def _rename(new: Path, path: Path) -> None:
    """Give a file a name that nobody has. Raises FileExistsError if somebody has it."""
    if _renameat2(new, path, _NO_REPLACE):
        return
    try:
        os.link(new, path)  # its other name goes with the hidden folder
    except FileExistsError:
        raise
    except OSError:  # a disk that knows neither
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(new, path)


def delete_files(folder: Path, names: Iterable[str]) -> None:
    """Delete these files of a folder, and what killed writes left; then all folders that are empty, itself too."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    for place, folders, _ in os.walk(folder, topdown=False):
        for hidden in filter(TEMPORARY.fullmatch, folders):
            shutil.rmtree(Path(place, hidden), ignore_errors=True)
        with suppress(OSError):  # something else is in it
            os.rmdir(place)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path`, locked and at the end deleted; what killed processes left of theirs is tidied up first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    with ExitStack() as on:
        yield _claimed(path, on)


def _claimed(path: Path, on: ExitStack) -> Path:
    """A new hidden folder beside `path`, locked until `on` closes, and deleted then."""
    while True:
        hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        if hidden.exists():
            continue
        with ExitStack() as own, suppress(BlockingIOError, FileNotFoundError):  # somebody may take it for a leftover
            own.enter_context(cleared(partial(_tidy, hidden, path)))
            hidden.mkdir(mode=0o700)
            own.enter_context(locked(hidden))
            own.callback(_tidy, hidden, path)  # while it is locked
            on.push(own.pop_all())
            return hidden


def recover(path: Path) -> None:
    """Tidy up the hidden folders beside `path` that nobody writes in any more."""
    for hidden in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        with suppress(OSError), locked(hidden) as held:
            if held and set(os.listdir(hidden)) <= {_NEW, _OLD}:
                _tidy(hidden, path)


def _tidy(hidden: Path, path: Path) -> None:
    """Delete a hidden folder, after what was moved into it from `path` is back there if nothing took its place."""
    if (hidden / _OLD).exists() and not path.exists():
        os.replace(hidden / _OLD, path)
    shutil.rmtree(hidden, ignore_errors=True)


def _exchange(new: Path, path: Path, aside: Path) -> Path:
    """Put `new` in the place of `path`, and return where that is now.

    In one step on Linux, in two renames by way of `aside` where the system or its disk cannot.
    """
    if _renameat2(new, path, _EXCHANGE):
        return new
    os.replace(path, aside)
    os.rename(new, path)
    return aside


_NO_REPLACE, _EXCHANGE = 1, 2


def _renameat2(source: Path, target: Path, how: int) -> bool:
    """Linux's renameat2; false where the system or its disk does not know it. Raises FileExistsError as `_NO_REPLACE` demands."""
    at_cwd, call = -100, getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None and call(at_cwd, os.fsencode(source), at_cwd, os.fsencode(target), how) == 0:
        return True
    if call is not None and ctypes.get_errno() == errno.EEXIST:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    return False


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
