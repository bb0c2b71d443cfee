"""Errors as one clear line and an exit code: 2 for wrong input, 1 for a failed run, 130 for Ctrl-C."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer import Abort, Exit
from typer.core import TyperGroup
from typer.exceptions import TyperException

from excise.quoting import cut

USAGE = (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What bad input raises, here and in the library."""

_LONGEST = 1000
"""Characters of an error's line; what it quotes of the input is cut where it is quoted."""

_PACKAGE = Path(__file__).parents[1]


class CommandGroup(TyperGroup):
    """Takes `--debug` anywhere, and turns exceptions and warnings into one line each on stderr unless it is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except (TyperException, Exit, Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params.get("debug"):
                raise
            line, code = explain(error)
            if line:
                print(f"excise: {line}", file=sys.stderr)
            raise Exit(code) from None


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside the block a warning of this package is one line on stderr, without file and source; others are left as they are."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> None:
            if Path(filename).is_relative_to(_PACKAGE):
                print(f"excise: warning: {' '.join(str(message).split())}", file=sys.stderr)
            else:
                shown(message, category, filename, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def explain(error: BaseException) -> tuple[str, int]:
    """One line for an exception, with the notes that were added to it, and the exit code."""
    line, code = _line(error)
    return cut("; ".join([line, *getattr(error, "__notes__", [])]), _LONGEST), code


def _line(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    if isinstance(error, BrokenPipeError):
        return "", 1
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"error: the disk is full ({error.filename or 'while writing'}); nothing was half-written", 1
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "error: out of memory; try --dtype bfloat16, fewer pictures, a smaller --budget, or another --device; erase: --set batch=4",
            1,
        )
    if isinstance(error, USAGE):
        return f"error: {error}", 2
    if isinstance(error, OSError | FloatingPointError):
        return f"error: {error}", 1
    return f"error: {type(error).__name__}: {error} (unexpected; --debug shows where)", 1
