"""The command line: `excise VERB …`.

Here is only how it begins, so that a signal finds a handler within milliseconds; `application` has the commands.
"""

from __future__ import annotations

import sys

from excise.cli import stopping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from excise.cli.application import app

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    stopping.listen()
    try:
        from excise.cli.application import app

        app()
    except MemoryError:  # before there is a command that could say so
        sys.exit("excise: error: out of memory")


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from excise.cli.application import app

    return app
