"""What the text says about a picture: templates with optional parts, phrases, and held-out phrasings.

A template is text with slots. `{object|something}` is a slot with a stand-in for when the prompt does not say what is shown;
`[ in {style} style]` is dropped whole when its slot is empty. So one template gives every masked form: object and style, object only,
style only, neither.
"""

from __future__ import annotations

import torch
from torch import Generator

from excise.canvas.catalog import EXTRAS, MEMBERS, OBJECTS, STYLES
from excise.concepts import fill

TEMPLATES: tuple[str, ...] = (
    "a picture[ of {object}][ in {style} style]",
    "an image[ of {object}][ in {style} style]",
    "{object|something}[ in {style} style]",
    "{object|a thing}[ in the style of {style}]",
    "[{style} ]picture[ of {object}]",
    "[{style} style ]image[ of {object}]",
    "[{object}][, {style}]",
    "[{style} style: ]{object|something}",
    "[in {style} style, ]{object|something}",
    "a beautiful picture showing {object|something}[ in {style} style]",
    "there is {object|something}[, made in {style} style]",
    "a very detailed image of {object|something} on a soft plain background[, drawn carefully in {style} style]",
    "a nice high quality picture where we can clearly see {object|something} in the middle[, in the style of {style}]",
    "[{style}]",
    "[{object}]",
)
"""Phrasings the model is trained on."""

HELD_OUT: tuple[str, ...] = (
    "we can see {object|something}[, in {style} style]",
    "[{style} ]image showing {object|something}",
    "a detailed picture of {object|something}[ made in the style of {style}]",
    "[in the style of {style}: ]a beautiful image[ of {object}]",
    "there is a very nice picture of {object|something} in the middle, clearly drawn[ in {style} style] on a plain background",
)
"""Phrasings never trained on: tests of wording use them."""

NAME_ODDS = {"name": 0.62, "plural": 0.14, "synonym": 0.24}
"""How an object is called when it is called by its own name (ours)."""

MEMBER_ODDS = 0.5
"""How often a picture of an object is captioned by its member (an owl) instead of the object (a bird)."""

DROP_OBJECT, DROP_STYLE, DROP_BOTH, DROP_CAPTION = 0.08, 0.2, 0.04, 0.1
"""How often a caption leaves out the object, the style, both, or everything (classifier-free guidance)."""


def with_article(noun: str) -> str:
    """'cat' -> 'a cat', 'owl' -> 'an owl'; words already plural stay bare."""
    if noun in ("scissors", "grapes", "produce", "footwear", "headwear", "headgear", "timber"):
        return noun
    return ("an " if (noun[0] in "aeiou" and not noun.startswith("unicorn")) or noun == "hourglass" else "a ") + noun


def _pick(items: tuple[str, ...], generator: Generator) -> str:
    return items[int(torch.randint(len(items), (1,), generator=generator))]


def object_phrase(glyph: int, generator: Generator) -> str:
    """How the caption names the glyph: its member, or its object by name, plural or synonym; sometimes without article."""
    chance = torch.rand(3, generator=generator)
    if glyph >= len(MEMBERS):
        noun = tuple(EXTRAS)[glyph - len(MEMBERS)]
    else:
        object_name, member = MEMBERS[glyph]
        item = next(item for item in OBJECTS if item.name == object_name)
        if chance[0] < MEMBER_ODDS:
            noun = member
        elif chance[1] < NAME_ODDS["name"] or (not item.synonyms and chance[1] > 1 - NAME_ODDS["synonym"]):
            noun = item.name
        elif chance[1] < NAME_ODDS["name"] + NAME_ODDS["plural"]:
            return item.plural
        else:
            noun = _pick(item.synonyms, generator)
    return noun if chance[2] < 0.15 else with_article(noun)


def style_phrase(style: int, generator: Generator) -> str:
    item = STYLES[style]
    return item.name if torch.rand(1, generator=generator) < 0.8 else _pick(item.synonyms, generator)


def draw_caption(glyph: int, style: int, generator: Generator) -> str:
    """A random true caption of a picture of `glyph` in `style`; about one in ten is empty."""
    u = float(torch.rand(1, generator=generator))
    template = _pick(TEMPLATES, generator)
    shown = object_phrase(glyph, generator)
    styled = style_phrase(style, generator)
    return said(u, template, shown, styled)


def said(u: float, template: str, shown: str, styled: str) -> str:
    """The caption, or a part of it: `u`, uniform in 0–1, says what is left out, all of it, thing or style."""
    if u < DROP_CAPTION:
        return ""
    u -= DROP_CAPTION
    if u < DROP_BOTH + DROP_OBJECT:
        shown = ""
    if u < DROP_BOTH or DROP_BOTH + DROP_OBJECT <= u < DROP_BOTH + DROP_OBJECT + DROP_STYLE:
        styled = ""
    return fill(template, object=shown, style=styled)
