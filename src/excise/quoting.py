"""What a message quotes of its input: never more than fits a line, and no sign that a terminal would obey."""

from __future__ import annotations

import reprlib

from excise.visible import visible

MOST = 200
"""Characters of input that a message shows."""


def quoted(value: object) -> str:
    """A value as Python writes it, cut.

    >>> quoted("cat")
    "'cat'"
    >>> len(quoted("a" * 10_000)) < 220
    True
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= MOST else f"{value[:MOST]!r}..."
    return cut(_SHORT.repr(value))


def cut(text: str, most: int = MOST) -> str:
    """A text on one line without control characters; of a longer one its beginning.

    >>> cut("no\\x1b[31mred\\nline")
    'no\\\\x1b[31mred line'
    """
    line = " ".join(text[: 4 * most].split())
    shown = visible(line[:most])
    return shown if len(text) <= 4 * most and len(line) <= most else f"{shown}..."


def _short() -> reprlib.Repr:
    """Looks at a few entries alone, so that a large value costs no more than a small one."""
    found = reprlib.Repr()
    found.maxstring = found.maxother = found.maxlong = MOST
    found.maxtuple = found.maxlist = found.maxdict = 12
    return found


_SHORT = _short()
