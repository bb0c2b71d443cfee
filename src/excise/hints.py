"""What an error suggests: the word that was probably meant."""

from __future__ import annotations

import difflib


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """A hint for an error: the nearest match if there is one, and the known words (at most 30)."""
    match = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    listed = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    return (f"did you mean {match[0]!r}? " if match else "") + f"known: {listed}"
