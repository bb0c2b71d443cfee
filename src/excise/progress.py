"""How a long job tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""progress(stage, done, total)"""


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""
