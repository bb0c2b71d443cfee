"""Errors as one clear line and an exit code: 2 for wrong input, 1 for a failed run, 128 + its number for a signal."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer import Exit
from typer.core import TyperGroup
from typer.exceptions import TyperException

from excise.cli import completion, screen, stopping
from excise.hints import nearest
from excise.quoting import cut, quoted
from excise.shortage import Shortage, shortage

USAGE = (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What bad input raises, here and in the library."""

_LONGEST = 1000
"""Characters of an error's line; what it quotes of the input is cut where it is quoted."""

_LACKING: dict[Shortage, str] = {
    "disk": "the disk is full, or a quota or limit of the system is reached ({}); nothing was half-written",
    "memory": "out of memory; try --dtype bfloat16, fewer pictures, a smaller --budget, or another --device; on a GPU --offload model; "
    "erase: --low-memory, --set batch=4",
}

_PACKAGE = Path(__file__).parents[1]


class CommandGroup(TyperGroup):
    """Takes `--debug` anywhere, and turns every error and warning into one line on stderr; `--debug` leaves exceptions as they are."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run what was typed, and end the process with its exit code."""
        typed = list(sys.argv[1:] if args is None else args)
        screen.prepare()
        if completion.ASKED in os.environ:
            completion.answer(lambda: self._main_shell_completion({}, "excise"))
            sys.exit(0)
        try:
            with plain_warnings("--debug" in typed), self.make_context("excise", typed) as context:
                self.invoke(context)
            screen.finish()
            code = 0
        except Exit as end:
            code = end.exit_code
        except (Exception, KeyboardInterrupt) as error:
            if "--debug" in typed:
                raise
            line, code = explain(stopping.cause(error))
            screen.give_up(f"excise: {line}" if line else "")
        sys.exit(code)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:  # which is how it is read while a shell completes
            typer.echo(ctx.get_help())
            raise Exit(2)
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise ValueError(f"unknown command {quoted(args[0])}; {nearest(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)


@contextmanager
def plain_warnings(others: bool = False) -> Iterator[None]:
    """Inside the block a warning of this package is one line on stderr, without file and source.

    others  whether those of other packages are shown too: they speak to who writes programs, in several lines
    """
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> None:
            if Path(filename).is_relative_to(_PACKAGE):
                screen.tell(f"excise: warning: {' '.join(str(message).split())}")
            elif others:
                shown(message, category, filename, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def explain(error: BaseException) -> tuple[str, int]:
    """One line for an exception, with the notes that were added to it, and the exit code."""
    line, code = _line(error)
    return cut("; ".join([line, *getattr(error, "__notes__", [])]), _LONGEST), code


def _line(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 128 + getattr(error, "number", signal.SIGINT)
    if isinstance(error, TyperException):
        return f"error: {_mistyped(error)}", 2
    if isinstance(error, BrokenPipeError):
        return "", 1
    if lacking := shortage(error):
        return f"error: {_LACKING[lacking].format(getattr(error, 'filename', None) or 'while writing')}", 1
    if isinstance(error, USAGE):
        return f"error: {error}", 2
    if isinstance(error, OSError | FloatingPointError):
        return f"error: {error}", 1
    return f"error: {type(error).__name__}: {error} (unexpected; --debug shows where)", 1


def _mistyped(error: Any) -> str:
    """What is wrong with what was typed: typer's sentence, or for an option that there is not, those that there are."""
    if type(error).__name__ == "NoSuchOption" and error.ctx is not None:
        known = [name for each in error.ctx.command.params for name in each.opts if name.startswith("--")]
        return f"unknown option {quoted(error.option_name)}; {nearest(error.option_name, known)}"
    sentence = error.format_message()
    return cut(sentence[:1].lower() + sentence[1:].rstrip("."), _LONGEST // 2)
