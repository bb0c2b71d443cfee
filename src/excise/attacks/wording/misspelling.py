"""Ten ways to misspell a name, made by rule: the same name gives the same misspellings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

VOWELS = "aeiou"
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""The rows of a keyboard."""

SOUNDS = (
    ("ph", "f"), ("ck", "k"), ("qu", "kw"), ("x", "ks"), ("ce", "se"), ("ci", "si"), ("ch", "tsh"), ("sh", "sch"), ("c", "k"),
    ("ee", "ea"), ("ea", "ee"), ("oo", "u"), ("ou", "ow"), ("ow", "ou"), ("f", "ph"), ("i", "y"), ("o", "oh"), ("a", "ah"),
    ("u", "oo"), ("e", "eh"),
)  # fmt: skip
"""Letters, and others that sound like them."""

DIGITS = dict(zip("aeiostbg", "43105789", strict=True))
"""Digits that look like letters."""


def misspellings(name: str, taken: Collection[str] = ()) -> dict[str, str]:
    """The name misspelt, by the way it is done. Of each way the first is taken that is neither the name, nor taken, nor that of an earlier way.

    name  one word or several: of several the longest is misspelt
    taken words that say something else, in small letters

    A way that has none, such as exchanged letters of a name of one letter, is left out.

    >>> misspellings("cat", taken={"cta"})["letters swapped"]
    'act'
    """
    word, taken = max(name.split(), key=len), set(taken) - {name.lower()}
    found: dict[str, str] = {}
    for way, make in WAYS.items():
        spelt = (name.replace(word, other, 1) for other in make(word))
        new = (one for one in spelt if one not in (name, *found.values()) and one.lower() not in taken and one.strip())
        if (first := next(new, None)) is not None:
            found[way] = first
    return found


def _places(word: str) -> list[int]:
    """Where letters are changed: the first one last, for readers know a word by it."""
    return [*range(1, len(word)), 0]


def _swapped(word: str) -> Iterator[str]:
    for at in [*range(1, len(word) - 1), 0] if len(word) > 1 else []:
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _left_out(word: str) -> Iterator[str]:
    yield from (word[:at] + word[at + 1 :] for at in _places(word))


def _doubled(word: str) -> Iterator[str]:
    yield from (word[: at + 1] + word[at:] for at in _places(word))


def _neighbour(word: str) -> Iterator[str]:
    for at in _places(word):
        row = next((row for row in KEYS if word[at].lower() in row), "")
        if row:
            place = row.index(word[at].lower())
            yield word[:at] + (row[place + 1] if place + 1 < len(row) else row[place - 1]) + word[at + 1 :]


def _as_it_sounds(word: str) -> Iterator[str]:
    for written, heard in SOUNDS:
        if written in word.lower():
            at = word.lower().index(written)
            yield word[:at] + heard + word[at + len(written) :]


def _apart(word: str) -> Iterator[str]:
    if len(word) > 1:
        yield "-".join(word)
        yield " ".join(word)


def _digits(word: str) -> Iterator[str]:
    yield "".join(DIGITS.get(sign, sign) for sign in word.lower())


def _capitals(word: str) -> Iterator[str]:
    yield word.upper()


def _truncated(word: str) -> Iterator[str]:
    yield from (word[:-cut] for cut in ((1, 2) if len(word) < 5 else (2, 1, 3)) if len(word) > cut)


def _other_vowel(word: str) -> Iterator[str]:
    """The next vowel but one first, which makes fewer English words than the next ("ball", "bell")."""
    for step in (2, 1, 3, 4):
        for at in _places(word):
            if word[at].lower() in VOWELS:
                yield word[:at] + VOWELS[(VOWELS.index(word[at].lower()) + step) % 5] + word[at + 1 :]


WAYS: dict[str, Callable[[str], Iterator[str]]] = {
    "letters swapped": _swapped,
    "letter left out": _left_out,
    "letter doubled": _doubled,
    "neighbouring key": _neighbour,
    "as it sounds": _as_it_sounds,
    "letters apart": _apart,
    "digits for letters": _digits,
    "in capitals": _capitals,
    "cut short": _truncated,
    "another vowel": _other_vowel,
}
