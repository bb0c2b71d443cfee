"""What must not be left when a process ends: it is cleared at the end of its block, and failing that at the end of the process."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_OPEN: set[Callable[[], object]] = set()
"""What clears what this process has put somewhere for a while."""


@contextmanager
def cleared(clear: Callable[[], object]) -> Iterator[None]:
    """Enter the block before the file or folder is made: `clear` is called at the block's end, whether or not it is there.

    A signal may raise an exception between any two steps, also before a block has begun to watch or while it clears. So whatever is still
    there is cleared once more when the process ends.
    """
    _OPEN.add(clear)
    try:
        yield
    finally:
        clear()
        _OPEN.discard(clear)


def clear_all() -> None:
    """Clear what is still there."""
    for clear in list(_OPEN):
        with suppress(OSError):
            clear()


atexit.register(clear_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_OPEN.clear)
