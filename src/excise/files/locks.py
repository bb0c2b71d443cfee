"""Locks: of two runs that write to one place at a time, the second is refused. The system frees a lock when its holder dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from excise.files.leftovers import cleared
from excise.files.places import fitting, real_path


@contextmanager
def writing(*paths: Path) -> Iterator[None]:
    """Inside the block nobody else can enter one with the same path, whatever it is called.

    While it lasts, `.NAME.lock` lies beside each path; it and folders that were made for it are gone afterwards. A process that is killed
    leaves the file, and nobody is kept out by it. Where the system or its disk cannot lock, nobody is kept out at all.

    Raises FileExistsError at once, saying who writes there and for how long, if somebody does.
    """
    with ExitStack() as on:
        for path in sorted({real_path(path): path for path in paths}.items()):
            on.enter_context(_alone(*path))
        yield


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Inside the block nobody else can lock the folder; false where the system cannot do that.

    Raises BlockingIOError if somebody else has locked it, FileNotFoundError if it is not there (any more).
    """
    handle = os.open(folder, os.O_RDONLY | os.O_NONBLOCK)
    try:
        held = _lock(handle)
        if not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise FileNotFoundError(f"{folder} was replaced meanwhile")
        yield held
    finally:
        os.close(handle)


def lock_file(path: Path) -> Path:
    """Where the lock of a path lies: beside it, or where nobody may write there (a mounted disk) in it."""
    above = path if path.is_dir() and not os.access(path.parent, os.W_OK) else path.parent
    return above / f".{fitting(path.name)}.lock"


@contextmanager
def _alone(path: Path, shown: Path) -> Iterator[None]:
    file = lock_file(path)
    made, handles = [folder for folder in file.parents if not folder.exists()], list[int]()
    with cleared(partial(_clear, file, handles, made)):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked_file(file, shown, handles)
        os.truncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield


def _locked_file(file: Path, shown: Path, handles: list[int]) -> int:
    """The open and locked file, which is the last of `handles` then. Raises FileExistsError if somebody else has locked it."""
    while True:
        handles.append(os.open(file, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            _lock(handles[-1])
            if os.path.samestat(os.fstat(handles[-1]), os.stat(file)):
                return handles[-1]
        except BlockingIOError:
            raise FileExistsError(
                f"{shown} is being written by {_holder(handles[-1])}; wait for it, or choose another path"
            ) from None
        except FileNotFoundError:
            pass  # its holder has just ended


def _clear(file: Path, handles: list[int], made: Sequence[Path]) -> None:
    """Delete a lock file unless somebody else has locked it, and the folders that were made for it unless something is in them."""
    with suppress(OSError):
        handles.append(os.open(file, os.O_RDWR))  # it may have been made without becoming one of the handles
    while handles:
        with suppress(OSError):
            _lock(handles[0])
            if os.path.samestat(os.fstat(handles[0]), os.stat(file)):
                file.unlink()  # while it is locked: who opened it before sees that it is not there any more
        os.close(handles.pop(0))
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def _holder(handle: int) -> str:
    """Who has locked a file, and for how long."""
    number = os.pread(handle, 20, 0).decode(errors="replace")
    who = f"process {number}" if number.isdecimal() else "another process"
    return f"{who} (for {_duration(time.time() - os.fstat(handle).st_mtime)})"


def _duration(seconds: float) -> str:
    """A length of time in words, in the largest unit that it fills.

    >>> _duration(200), _duration(1)
    ('3 minutes', '1 second')
    """
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length or unit == "second":
            count = max(0, int(seconds // length))
            break
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _lock(handle: int) -> bool:
    """Lock an open file or folder if the system can. Raises BlockingIOError if it is locked already."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # not POSIX, or a disk without locks
        return False
    return True
