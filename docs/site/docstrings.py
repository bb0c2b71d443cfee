"""Docstrings of the house as reStructuredText: code between single back quotes, and names with what they mean, one a line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markup import named

_CODE = re.compile(r"(`+[^`]+`+)")


def as_rest(lines: Sequence[str]) -> list[str]:
    """The same, as autodoc reads it. Examples stay as they are.

    >>> as_rest(["What it does.", "", "n      pictures of `x`", "names  a*"])
    ['What it does.', '', ':n: pictures of ``x``', ':names: a\\\\*', '']
    """
    found: list[str] = []
    for paragraph in "\n".join(lines).strip("\n").split("\n\n"):
        found += [*_paragraph(paragraph), ""]
    return found


def _paragraph(paragraph: str) -> list[str]:
    lines = paragraph.strip("\n").split("\n")
    if lines[0].lstrip().startswith(">>>"):
        return lines
    if meanings := named("\n".join(lines)):
        return [f":{name}: {_plain(text)}" for name, text in meanings.items()]
    if all(line.startswith("    ") for line in lines):
        return ["::", "", *lines]
    return [_plain(line) for line in lines]


def _plain(text: str) -> str:
    """A line in which nothing but code is markup."""
    parts = _CODE.split(text)
    return "".join(
        f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"[\\*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part)
        for part in parts
    )
