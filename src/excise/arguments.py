"""Checks of what a Python caller gives: each raises ValueError in one line that names the argument. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

SEEDS = 2**63
"""Seeds are whole numbers from 0 to below this."""


def check_whole(name: str, value: Any, least: int, below: int | None = None) -> None:
    """A whole number from `least` to below `below`."""
    try:
        number = index(value)
    except TypeError:
        number = least - 1
    if number < least or (below is not None and number >= below):
        limit = f" and below {below}" if below is not None else ""
        raise ValueError(f"{name} must be a whole number of at least {least}{limit}, not {value!r}")


def check_number(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """A finite number from `least` to `most`."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not least <= value <= most:
        limit = f" from {least:g} to {most:g}" if math.isfinite(least) else ""
        raise ValueError(f"{name} must be a finite number{limit}, not {value!r}")


def check_texts(name: str, value: Any) -> None:
    """A sequence of texts, which a text alone is not: its letters would be taken one by one."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name} must be a list of texts, not {value!r}")
    for text in value:
        if not isinstance(text, str):
            raise ValueError(f"{name} must be texts, not {text!r}")
