"""UnlearnCanvas (arXiv:2402.11846): its styles, objects and prompts, every variant of what counts, and the published rows. No torch here."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from excise.evaluation.suites.prompt_file import PromptItem
from excise.hints import nearest
from excise.quoting import quoted

STYLES_51 = (
    "Abstractionism", "Artist_Sketch", "Blossom_Season", "Bricks", "Byzantine", "Cartoon", "Cold_Warm", "Color_Fantasy",
    "Comic_Etch", "Crayon", "Cubism", "Dadaism", "Dapple", "Defoliation", "Early_Autumn", "Expressionism", "Fauvism", "French",
    "Glowing_Sunset", "Gorgeous_Love", "Greenfield", "Impressionism", "Ink_Art", "Joy", "Liquid_Dreams", "Magic_Cube",
    "Meta_Physics", "Meteor_Shower", "Monet", "Mosaic", "Neon_Lines", "On_Fire", "Pastel", "Pencil_Drawing", "Picasso",
    "Pop_Art", "Red_Blue_Ink", "Rust", "Seed_Images", "Sketch", "Sponge_Dabbed", "Structuralism", "Superstring", "Surrealism",
    "Ukiyoe", "Van_Gogh", "Vibrant_Flow", "Warm_Love", "Warm_Smear", "Watercolor", "Winter",
)  # fmt: skip
"""Themes in the order of the style classifier's classes."""

OBJECTS_20 = (
    "Architectures", "Bears", "Birds", "Butterfly", "Cats", "Dogs", "Fishes", "Flame", "Flowers", "Frogs", "Horses", "Human",
    "Jellyfish", "Rabbits", "Sandwiches", "Sea", "Statues", "Towers", "Trees", "Waterfalls",
)  # fmt: skip
"""Objects in the order of the object classifier's classes."""

SEED_IMAGES = "Seed_Images"
"""The theme of real photographs, which is no style."""

TARGETS = (*(f"style:{style}" for style in STYLES_51 if style != SEED_IMAGES), *(f"object:{name}" for name in OBJECTS_20))
"""The 70 concepts that the benchmark erases, one at a time."""

SEEDS = (188, 288, 588, 688, 888)
PLAIN = ""
"""Stands for the style of pictures that were asked for without one."""


@dataclass(frozen=True)
class CountingVariant:
    """One way to count.

    counts       in words
    prompt       of an object in a style; with_style False gives the object alone, where the variant asks for that
    spaces       whether the underscores of a style's name become spaces in the prompt
    seed_images  whether Seed_Images counts among the styles whose accuracy is measured
    object_seed_images whether pictures in Seed_Images count in accuracies of objects
    cross_excluded     whether pictures that contain the target are left out of retained accuracies
    plain        prompt of an object without a style, if such pictures belong to the set
    """

    counts: str
    prompt: str = "A {object} image in {style} style."
    spaces: bool = True
    seed_images: bool = False
    object_seed_images: bool = False
    cross_excluded: bool = False
    plain: str = ""


VARIANTS: dict[str, CountingVariant] = {
    "uc": CountingVariant("50 styles, without Seed_Images, for styles and for objects (the authors' statement; objects: our reading)"),
    "uc-script": CountingVariant(
        "styles as uc; objects over all 51 themes, as the released script counts them", object_seed_images=True
    ),
    "uc-incl-seed": CountingVariant("51 themes for styles and objects", seed_images=True, object_seed_images=True),
    "uc-cross-excl": CountingVariant(
        "as uc, without the pictures that contain the target in any retained accuracy", cross_excluded=True
    ),
    "saeuron": CountingVariant(
        "objects of a style target over pictures asked for without a style; objects otherwise over these as well; not comparable",
        prompt="An image of {object} in {style} style.",
        plain="An image of {object}.",
    ),
    "cuig": CountingVariant(
        "the user's styles and objects; prompt without a full stop, underscores kept", prompt="A {object} image in {style} style",
        spaces=False,
    ),
}  # fmt: skip
"""Ways in which published tables count, by name. All but `saeuron` and `cuig` use the same pictures."""

Key = tuple[str, str, int]
"""(style or PLAIN, object, seed) of a picture."""


def split_target(target: str) -> tuple[str, str]:
    """("style" or "object", name) of "style:Van_Gogh", "Van Gogh" or "Dogs". Raises ValueError for another."""
    kind, _, name = target.rpartition(":")
    name = name.strip().replace(" ", "_")
    for found, names in (("style", STYLES_51), ("object", OBJECTS_20)):
        if name in names and kind in ("", found) and name != SEED_IMAGES:
            return found, name
    raise ValueError(f"unknown target {quoted(target)} of UnlearnCanvas; {nearest(name, [t.split(':')[1] for t in TARGETS])}")


def prompt(variant: CountingVariant, style: str, name: str) -> str:
    """The text that a picture is asked for with.

    >>> prompt(VARIANTS["uc"], "Van_Gogh", "Dogs")
    'A Dogs image in Van Gogh style.'
    """
    if style == PLAIN:
        return variant.plain.format(object=name)
    return variant.prompt.format(object=name, style=style.replace("_", " ") if variant.spaces else style)


def items(
    variant: CountingVariant,
    styles: Sequence[str],
    objects: Sequence[str],
    seeds: Sequence[int],
    guidance: float,
    steps: int,
    size: int,
) -> list[PromptItem]:
    """Every picture of a model's answer set, named as the benchmark's own scripts name them."""
    keys = [(style, name) for style in styles for name in objects]
    keys += [(PLAIN, name) for name in objects] if variant.plain else []
    return [
        PromptItem(
            f"{style or 'No_Style'}_{name}_seed{seed}", prompt(variant, style, name), seed, guidance, steps, size, size,
            {"style": style, "object": name},
        )
        for style, name in keys
        for seed in seeds
    ]  # fmt: skip


@dataclass(frozen=True)
class PublishedRow:
    """A row of the published table; shares 0–1, None where it has no figure.

    evidence  where it was read: the authors' file or picture, or somebody's copy of it
    """

    method: str
    figures: Mapping[str, float | None]
    evidence: str
    protocol: str


def published() -> list[PublishedRow]:
    """The rows of the benchmark's table (other model, other pictures than the canvas)."""
    text = (files(__package__) / "unlearncanvas.csv").read_text(encoding="utf-8")
    rows = []
    for record in csv.DictReader(text.splitlines()):
        method, evidence, source = (record.pop(key) for key in ("method", "evidence", "protocol"))
        rates = {"s_ua", "s_ira", "s_cra", "o_ua", "o_ira", "o_cra"}
        values = {key: float(value) / (100 if key in rates else 1) if value else None for key, value in record.items()}
        rows.append(PublishedRow(method, values, evidence, source))
    return rows
