"""What an error suggests: the word that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from excise.quoting import cut

_LONGEST = 64
"""Characters of words that are compared: comparing takes the product of two lengths, and no longer word is a slip of the finger."""

_LISTED = 30
"""Known words that a hint lists."""


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint for an error: the nearest match if there is one, and the known words (at most 30)."""
    match = similar(word, known)
    listed = ", ".join(cut(one, _LONGEST) for one in known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
    return (f"did you mean {match!r}? " if match else "") + f"known: {listed}"


def similar(word: str, known: Sequence[str], share: float = 0.5) -> str | None:
    """The known word that was probably meant, if there is one; `share` is how much of it must be the same (0 to 1)."""
    near = [one for one in known if len(one) <= _LONGEST] if len(word) <= _LONGEST else []
    return next(iter(difflib.get_close_matches(word.lower(), near, n=1, cutoff=share)), None)
