"""The command line: `excise VERB …`.

Here is only how it begins, so that a signal finds a handler within milliseconds; `application` has the commands.
"""

from __future__ import annotations

from excise.cli import stopping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from excise.cli.application import app

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    stopping.listen()
    from excise.cli.application import app

    app()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from excise.cli.application import app

    return app
