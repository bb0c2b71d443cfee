"""Text of strangers where people read it: what would act on a terminal or hide from the eye is written out."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what is not seen: control characters, formats (those that turn the direction of writing too), halves of
characters (bytes of a file's name that are no text), and separators of lines and paragraphs."""


def visible(text: object) -> str:
    r"""A value as one line of text, in which every character that cannot be seen is written as Python writes it.

    >>> visible("cat\x1b[2J")
    'cat\\x1b[2J'
    """
    return "".join(_written(sign) if unicodedata.category(sign) in _HIDDEN else sign for sign in str(text))


def _written(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
