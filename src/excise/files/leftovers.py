"""What must not be left when a process ends: it is cleared at the end of its block, and failing that at the end of the process."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THERE: dict[Path, Callable[[], object]] = {}
"""What this process has put somewhere for a while, and how it is cleared."""


@contextmanager
def cleared(path: Path, clear: Callable[[], object]) -> Iterator[None]:
    """Enter the block before `path` is made: `clear` is called at its end, whether or not `path` is there.

    A signal may raise an exception between any two steps, also before a block has begun to watch or while it clears. So whatever is still
    there is cleared once more when the process ends.
    """
    _THERE[path] = clear
    try:
        yield
    finally:
        clear()
        del _THERE[path]


def clear_all() -> None:
    """Clear what is still there."""
    for clear in list(_THERE.values()):
        with suppress(OSError):
            clear()


atexit.register(clear_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_THERE.clear)
