"""Memory or disk that ran out: the one kind of failure that says nothing of the file or the setting that was at work."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Literal

Shortage = Literal["memory", "disk"]

_ERRNOS: dict[int, Shortage] = {
    errno.ENOMEM: "memory",
    **{number: "disk" for name in ("ENOSPC", "EDQUOT", "EFBIG") if (number := getattr(errno, name, None)) is not None},
}
_WORDS: dict[str, Shortage] = {
    "can't allocate memory": "memory",  # torch: DefaultCPUAllocator
    "Cannot allocate memory": "memory",  # mmap
    "bad_alloc": "memory",
    "out of memory": "memory",  # CUDA, MPS
    "No space left on device": "disk",
    "Disk quota exceeded": "disk",
    "File too large": "disk",
}
"""What libraries write that turn the system's error into one of their own."""


def shortage(error: BaseException) -> Shortage | None:
    """What ran out, if this error, or one that it was raised from or while handling, says so; else None.

    >>> shortage(OSError(28, "No space left on device")), shortage(MemoryError()), shortage(ValueError("no space"))
    ('disk', 'memory', None)
    """
    return next((found for each in _chain(error) if (found := _own(each))), None)


def system_error(message: str) -> int | None:
    """The errno in a message as Rust writes it: "... (os error 28)"."""
    found = re.search(r"\(os error (\d+)\)", message)
    return int(found[1]) if found else None


def _own(error: BaseException) -> Shortage | None:
    if isinstance(error, MemoryError):
        return "memory"
    message = str(error)
    number = error.errno if isinstance(error, OSError) and error.errno is not None else system_error(message)
    if number is not None:
        return _ERRNOS.get(number)
    if isinstance(error, ValueError | TypeError):
        return None  # bad input, which may quote any words
    return next((found for words, found in _WORDS.items() if words in message), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
