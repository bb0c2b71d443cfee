"""What the further things of the canvas are called: makes `things.json` from public lists of emoji names.

    python -m excise.canvas.flow.emoji_names --emojibase DATA.json --emojilib EMOJI-EN-US.json --cldr ANNOTATIONS.json --font NotoColorEmoji.ttf

The lists are en/data.json of the npm package emojibase-data, dist/emoji-en-US.json of emojilib, and annotations/en/annotations.json of
cldr-annotations-full. Left out is what shows, or is called by a word of, a declared concept: the model has further things so that most of
its words say something else.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from excise.canvas.captions import HELD_OUT, TEMPLATES
from excise.canvas.catalog import EMOJI, EXTRAS, OBJECTS, STYLES

GROUPS = (0, 1, 3, 4, 5, 6, 7)
"""Faces, people, animals and plants, food, places, activities, objects; no signs and no flags."""

NEWEST = 15.0
SOURCE = (
    "emojibase-data 17.0.0 (MIT, Miles Johnson), emojilib 4.0.3 (MIT, Mu-An Chiou), cldr-annotations-full 48.2.0 (Unicode License v3): "
    "excise.canvas.flow.emoji_names"
)


def words(text: str) -> list[str]:
    """Its words of letters alone."""
    return re.findall(r"[a-z]+", text.lower().replace("’s", "").replace("'s", ""))


OF_TEMPLATES = {word for template in (*TEMPLATES, *HELD_OUT) for word in words(re.sub(r"\{(object|style)", " ", template))}
OF_PLACES = {"left", "right", "beside", "next", "two", "both", "small", "little", "tiny", "big", "large", "huge"}
UNWANTED = {"af", "ass", "sexual", "sexy", "sucks"}
EMPTY = {"and", "for", "is", "it", "no", "not", "or", "the", "this", "to", "with", "something", "thing"}
SHOWN = {phrase for item in OBJECTS for phrase in (item.name, item.plural, *item.synonyms)}
"""What a list says of a thing that shows an object."""

DECLARED = {
    word
    for phrases in (
        *((item.name, item.plural, *item.synonyms, *item.members) for item in OBJECTS),
        *((style.name, *style.synonyms) for style in STYLES),
    )
    for phrase in phrases
    for word in words(phrase)
}  # fmt: skip
TAKEN = DECLARED | OF_TEMPLATES | OF_PLACES | UNWANTED | EMPTY | set(EXTRAS)
"""Words that no further thing is called by."""


def bare(emoji: str) -> str:
    """Without the mark that asks for a coloured glyph."""
    return emoji.replace("\ufe0f", "")


def drawn(emoji: str, face: Any) -> bytes:
    """What the font shows, to see that no two things look alike."""
    glyph = Image.new("RGBA", (500, 327))
    ImageDraw.Draw(glyph).text((109, 109), emoji, font=face, embedded_color=True)
    box = glyph.getbbox()
    return b"" if box is None or box[2] - box[0] > 160 else glyph.crop(box).tobytes()


def is_variant(emoji: str) -> bool:
    """A man's or a woman's picture of what a person's picture shows."""
    return "\u200d" in emoji and any(mark in emoji for mark in "♂♀👨👩")


def main() -> None:
    """Make the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("emojibase", "emojilib", "cldr", "font"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("things.json"))
    given = parser.parse_args()
    base, lib, cldr = (json.loads(path.read_text("utf-8")) for path in (given.emojibase, given.emojilib, given.cldr))
    cldr = cldr["annotations"]["annotations"]
    face = ImageFont.truetype(str(given.font), 109, layout_engine=ImageFont.Layout.RAQM)
    seen, things = {bare(emoji) for emoji in EMOJI}, []
    looks, names = {b""}, set(EXTRAS)
    for entry in base:
        emoji, name = entry["emoji"], " ".join(words(entry["label"]))
        if entry.get("group") not in GROUPS or entry["version"] > NEWEST or bare(emoji) in seen or is_variant(emoji):
            continue
        said = [
            *entry.get("tags", []),
            *cldr.get(bare(emoji), {}).get("default", []),
            *lib.get(emoji, lib.get(bare(emoji), [])),
        ]
        tags = list(dict.fromkeys(" ".join(words(tag.replace("_", " "))) for tag in said))
        look = drawn(emoji, face)
        shows = set(tags) & SHOWN or set(words(name)) & DECLARED or name in names or len(words(name)) > 4
        if shows or look in looks:
            continue
        looks.add(look)
        names.add(name)
        fit = [t for t in tags if len(t) > 1 and t != name and len(words(t)) < 4]
        fit = [t for t in fit if not set(words(t)) & TAKEN]
        things.append({"name": name, "emoji": emoji, "tags": fit})
    rows = ",\n".join(json.dumps(thing, ensure_ascii=False) for thing in things)
    given.out.write_text(f'{{"source": {json.dumps(SOURCE)},\n"things": [\n{rows}\n]}}\n', "utf-8")
    found = {word for thing in things for text in (thing["name"], *thing["tags"]) for word in words(text)}
    print(f"{len(things)} things, {len(found)} words, {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
