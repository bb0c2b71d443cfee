"""All that the wide canvas shows: the canvas's own glyphs, and hundreds of further things, each with a name and words that say it.

A further thing shows no declared concept, and none of its words names one. So most of what random words say is nothing that an edit is
to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from excise.canvas.catalog import EMOJI, GLYPH_OBJECT, GLYPHS, OTHER
from excise.files import read_json

FILE = Path(__file__).with_name("things.json")


@dataclass(frozen=True)
class Thing:
    """A further glyph: its emoji, its name, and words that people say of it."""

    name: str
    emoji: str
    tags: tuple[str, ...]


FURTHER: tuple[Thing, ...] = tuple(
    Thing(thing["name"], thing["emoji"], tuple(thing["tags"])) for thing in read_json(FILE)["things"]
)
NAMES: tuple[str, ...] = GLYPHS + tuple(thing.name for thing in FURTHER)
"""Name of every glyph; the canvas's own come first, in their order."""

ALL_EMOJI: tuple[str, ...] = EMOJI + tuple(thing.emoji for thing in FURTHER)
THING_OBJECT: tuple[int, ...] = GLYPH_OBJECT + (OTHER,) * len(FURTHER)
"""Object label of every glyph; 20 = other."""

NOTHING = len(NAMES)
"""In a second place: there is none."""


def plural(noun: str) -> str:
    """'lamp' -> 'lamps', 'box' -> 'boxes', 'party' -> 'parties'; words already plural stay."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun if noun.endswith("s") and not noun.endswith("ss") else noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
