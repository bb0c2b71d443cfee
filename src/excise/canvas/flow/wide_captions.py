"""What the text says about a picture of the wide canvas: of one thing or of two, of their sizes and places, in the canvas's templates."""

from __future__ import annotations

import torch
from torch import Generator

from excise.canvas.captions import TEMPLATES, object_phrase, said, style_phrase, with_article
from excise.canvas.catalog import GLYPHS, MEMBERS, OBJECTS
from excise.canvas.flow.things import FURTHER, NOTHING, plural

BOTH = (
    "{a} and {b}", "{b} and {a}", "{a} next to {b}", "{b} next to {a}", "{a} beside {b}", "{b} beside {a}",
)  # fmt: skip
"""Two things, wherever they are."""

PLACED = (
    "{a} left of {b}", "{a} to the left of {b}", "{b} right of {a}", "{b} to the right of {a}",
    "{a} on the left and {b} on the right", "{b} on the right and {a} on the left",
)  # fmt: skip
"""Two things with their places; {a} is the left one."""

SHORT = tuple(template for template in TEMPLATES if len(template.split()) < 10)
"""Templates that leave room for two things."""

PLACED_ODDS = 0.6
"""How often a caption of two things says where they are (ours)."""

UNNAMED_ODDS = 0.1
"""How often it calls one of them "something": what is left of it when a concept's words are taken out."""

SIZED_ODDS = 0.15
SIZES = {-1: ("small", "little", "tiny"), 1: ("big", "large", "huge")}
"""Words for what is drawn narrow or wide; others are drawn between."""

CALLED = {"name": 0.5, "tag": 0.3, "both": 0.12}
"""How a further thing is called: by its name, a tag, a tag before its name; else in the plural."""


def _pick(items: tuple[str, ...], generator: Generator) -> str:
    return items[int(torch.randint(len(items), (1,), generator=generator))]


def noun_phrase(glyph: int, size: int, generator: Generator) -> str:
    """How the caption names one thing. size: -1 small, 1 big, 0 between."""
    if glyph < len(GLYPHS):
        phrase = object_phrase(glyph, generator)
    else:
        phrase = _further_phrase(glyph - len(GLYPHS), generator)
    if not size or float(torch.rand(1, generator=generator)) >= SIZED_ODDS:
        return phrase
    sized, (first, _, rest) = _pick(SIZES[size], generator), phrase.partition(" ")
    return with_article(f"{sized} {rest}") if first in ("a", "an") else f"{sized} {phrase}"


def _further_phrase(index: int, generator: Generator) -> str:
    thing = FURTHER[index]
    chance = float(torch.rand(1, generator=generator))
    bare = float(torch.rand(1, generator=generator)) < 0.15
    tag = _pick(thing.tags, generator) if thing.tags else thing.name
    if chance < CALLED["name"]:
        noun = thing.name
    elif chance < CALLED["name"] + CALLED["tag"]:
        noun = tag
    elif chance < CALLED["name"] + CALLED["tag"] + CALLED["both"]:
        noun = f"{tag} {thing.name}"
    else:
        return plural(thing.name)
    return noun if bare or noun.endswith("s") else with_article(noun)


def plural_phrase(glyph: int) -> str:
    """'two cats' for two of a glyph: by its object or, of one that is never evaluated, by its name."""
    if glyph < len(MEMBERS):
        return next(item.plural for item in OBJECTS if item.name == MEMBERS[glyph][0])
    return plural(GLYPHS[glyph] if glyph < len(GLYPHS) else FURTHER[glyph - len(GLYPHS)].name)


def things_phrase(left: int, right: int, size: int, generator: Generator) -> str:
    """What a picture shows: one thing (`right` is `NOTHING`), or two with their places or without."""
    if right == NOTHING:
        return noun_phrase(left, size, generator)
    if left == right:
        return f"two {plural_phrase(left)}"
    chance = torch.rand(3, generator=generator).tolist()
    a, b = (noun_phrase(glyph, 0, generator) for glyph in (left, right))
    if chance[1] < UNNAMED_ODDS:
        a, b = ("something", b) if chance[2] < 0.5 else (a, "something")
    pattern = _pick(PLACED if chance[0] < PLACED_ODDS else BOTH, generator)
    return pattern.format(a=a, b=b)


def draw_caption(left: int, right: int, size: int, style: int, generator: Generator) -> str:
    """A random true caption of a picture; about one in ten is empty. As often as on the canvas, thing or style are left out."""
    u = float(torch.rand(1, generator=generator))
    template = _pick(TEMPLATES if right == NOTHING else SHORT, generator)
    things, styled = things_phrase(left, right, size, generator), style_phrase(style, generator)
    return said(u, template, things, styled)
