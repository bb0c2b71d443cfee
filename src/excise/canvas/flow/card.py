"""What is measured of canvas-flow beside the canvas's figures: two things in a picture, and each way in by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from excise.canvas.captions import with_article
from excise.canvas.catalog import OBJECT_NAMES, STYLE_NAMES
from excise.canvas.flow.two_places import FILE
from excise.evaluation import Classifier
from excise.models import Model
from excise.models.conditioning import Conditioning
from excise.models.sampling import Told

SHIPPED = """ The shipped weights are
not one such run: the canvas's U-Net taught from step 9,000 on, and the rate fell to its end at step 13,000, rose again, and fell to its end at
step 15,000."""

Draw = Callable[[Told, str], Tensor]
"""Pictures (n, 3, 64, 64) of what is told, under a stage of progress."""


def figures(model: Model, folder: Path, judge: Classifier, draw: Draw, count: int = 400) -> dict[str, Tensor]:
    """Hits of each figure, (n,) bool.

    two things: both        both are there, asked for with their places or without
    two things: as placed   each is where it was asked for
    tokens alone, pooled alone   the object is right, in any style, where the other way in is told the empty prompt
    """
    return _two_things(Classifier.load(folder / FILE), draw, count) | _ways(model, judge, draw, count)


def _two_things(places: Classifier, draw: Draw, count: int) -> dict[str, Tensor]:
    pairs = _pairs(count)
    wanted = torch.tensor(pairs)
    hits = {}
    for name, pattern in (("both", "a picture of {} and {}"), ("as placed", "a picture of {} left of {}")):
        prompts = [
            f"{pattern.format(*(with_article(OBJECT_NAMES[o]) for o in pair))} in {STYLE_NAMES[i % len(STYLE_NAMES)]} style"
            for i, pair in enumerate(pairs)
        ]
        said = places.classify(draw(prompts, f"two things: {name}"))
        seen = torch.stack([said["left"], said["right"]], 1)
        placed = (seen == wanted).all(1)
        hits[f"two things: {name}"] = placed | (seen.flip(1) == wanted).all(1) if name == "both" else placed
    return hits


def _pairs(count: int) -> list[tuple[int, int]]:
    """Two different objects each, every object left equally often and right equally often."""
    n = len(OBJECT_NAMES)
    return [(i % n, (i % n + 1 + i // n % (n - 1)) % n) for i in range(count)]


def _ways(model: Model, judge: Classifier, draw: Draw, count: int) -> dict[str, Tensor]:
    objects = [i % len(OBJECT_NAMES) for i in range(count)]
    styles = [STYLE_NAMES[i // len(OBJECT_NAMES) % len(STYLE_NAMES)] for i in range(count)]
    told = model.encode(
        [f"a picture of {with_article(OBJECT_NAMES[o])} in {s} style" for o, s in zip(objects, styles, strict=True)]
    )
    empty = model.encode([""] * count)
    alone = {
        "tokens alone": Conditioning(told.tokens, empty.pooled),
        "pooled alone": Conditioning(empty.tokens, told.pooled),
    }
    wanted = torch.tensor(objects)
    return {name: judge.classify(draw(said, name))["object"] == wanted for name, said in alone.items()}


def origin(without: Sequence[str]) -> str:
    """Where the weights come from, for the model card."""
    options = "".join(f" --without '{name}'" for name in without)
    shipped = "" if without else SHIPPED
    return f"""A rectified flow. Text encoders and transformer were trained by the recipe of `excise.canvas.flow`; a fifth of its
pictures show two things. Autoencoder and classifier are the canvas's own. What is said enters twice, as tokens and as a pooled row: in
training each was left out in a tenth of the pictures. *Tokens alone* and *pooled alone* are how often the object is right where the other
way in is told nothing. *Both* asks for two objects, *as placed* for one left of the other; a judge of their own says what is left and what
is right. `StableDiffusion3Pipeline.from_pretrained(FOLDER, text_encoder_3=None, tokenizer_3=None)` loads it, as any model without T5; with
`max_sequence_length=0` it draws what excise draws, and with its default nearly that, but slower.
Rebuild it: `excise canvas train flow --work WORK{options}`, then `excise canvas assemble --work WORK --out FOLDER`.{shipped}"""
