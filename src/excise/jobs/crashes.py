"""Ends of a process before its time; crashes (a segmentation fault in somebody's linear algebra) are told to the run that comes after."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from excise.files import CRASH


class ProcessDied(Exception):
    """A process ended before its task was done."""


@contextmanager
def crash_told(result: Path) -> Iterator[None]:
    """While `result` is made in the block, a crash of the process leaves what it was at beside it.

    A kill from outside leaves an empty file, which says nothing; any other end leaves none.
    """
    path, before = result.with_suffix(CRASH), faulthandler.is_enabled()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        faulthandler.enable(file, all_threads=False)
        try:
            yield
        finally:
            faulthandler.disable()
            if before and sys.__stderr__ is not None:
                faulthandler.enable(sys.__stderr__)
            path.unlink(missing_ok=True)


def crash_of(result: Path) -> str | None:
    """What the process that was making `result` was at when it crashed; None if it did not crash. It is told once."""
    path = result.with_suffix(CRASH)
    told = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    path.unlink(missing_ok=True)
    return told or None


def crash_line(told: str) -> str:
    """A crash as the error of what crashed: "ProcessDied: the process crashed (Fatal Python error: Segmentation fault)"."""
    return f"ProcessDied: the process crashed ({told.splitlines()[0]})"
