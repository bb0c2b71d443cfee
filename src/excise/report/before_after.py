"""`before_after.png`: the erased concepts and their neighbours, same prompts and seeds, base row above edited row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from excise.concepts import GENERIC_CONTEXTS, Catalog, Concept, PromptPair
from excise.images import to_image
from excise.visible import visible

if TYPE_CHECKING:
    from PIL import Image

    from excise.edits import Edit
    from excise.models import Model
    from excise.progress import Progress

TARGETS, NEIGHBOURS, EDGE = 3, 4, 128
LABELS, HEADER, GAP = 56, 24, 4
"""Layout in pixels: width of the row labels, height of the column labels, space between pictures."""


@dataclass(frozen=True)
class Panel:
    """One column: what it shows, the prompt and the seed of both its pictures, and whether they ask for something that is erased, for that
    without its words, or for something that is kept."""

    label: str
    prompt: str
    seed: int
    asks: Literal["erased", "masked", "kept"]


def panels(catalog: Catalog, targets: Sequence[Concept], seed: int) -> list[Panel]:
    """The erased concepts (one of them alone with three seeds), the prompt without the words, and neighbours of the first."""
    shown = list(targets[:TARGETS]) if len(targets) > 1 else [targets[0]] * TARGETS
    first = targets[0]
    columns = [Panel(f"{t.name} (erased)", _plain(t).prompt, seed + i, "erased") for i, t in enumerate(shown)]
    columns.append(Panel("without words", _plain(first).masked, seed, "masked"))
    near = neighbours(catalog, targets)[:NEIGHBOURS]
    return columns + [Panel(concept.name, _plain(concept).prompt, seed, "kept") for concept in near]


def neighbours(catalog: Catalog, targets: Sequence[Concept]) -> list[Concept]:
    """Concepts of the first target's kind that are kept, those listed right after it first; common ones if the model lists none."""
    first, labels = targets[0], {target.label for target in targets}
    same = catalog.of_kind(first.kind)
    if not same:
        words = GENERIC_CONTEXTS["object" if first.kind == "style" else "style"]
        same = tuple(Concept(word, first.kind, (word,), first.contexts, first.templates) for word in words)
    start = next((i + 1 for i, concept in enumerate(same) if concept.label == first.label), 0)
    return [concept for concept in same[start:] + same[:start] if concept.label not in labels]


def sheet(model: Model, edit: Edit, targets: Sequence[Concept], seed: int, progress: Progress) -> Image.Image:
    """The whole picture: panels of the targets, made by both models, drawn."""
    columns = panels(model.catalog, targets, seed)
    base, edited = sample(model, edit, columns, progress)
    return draw([panel.label for panel in columns], {"base": base, "edited": edited})


def sample(
    model: Model, edit: Edit, columns: Sequence[Panel], progress: Progress
) -> tuple[list[Image.Image], list[Image.Image]]:
    """The pictures of the base model and those of the edited one."""
    prompts, seeds = [panel.prompt for panel in columns], [panel.seed for panel in columns]
    progress("before and after", 0, 2)
    base = model.sample(prompts, seeds)
    progress("before and after", 1, 2)
    with edit.applied(model):
        edited = model.sample(prompts, seeds)
    progress("before and after", 2, 2)
    return [to_image(picture) for picture in base], [to_image(picture) for picture in edited]


def draw(labels: Sequence[str], rows: dict[str, list[Image.Image]]) -> Image.Image:
    """Labelled rows of pictures; small pictures are enlarged by a whole factor, large ones shrunk."""
    from PIL import Image, ImageDraw, ImageFont

    edge = _edge(next(iter(rows.values()))[0].width)
    font = ImageFont.load_default(12)
    sheet = Image.new("RGB", (LABELS + len(labels) * (edge + GAP), HEADER + len(rows) * (edge + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, label in enumerate(labels):
        centre = LABELS + column * (edge + GAP) + edge // 2
        pen.text((centre, HEADER // 2), _fitting(visible(label), edge, font), fill="black", font=font, anchor="mm")
    for row, (name, pictures) in enumerate(rows.items()):
        top = HEADER + row * (edge + GAP)
        pen.text((LABELS // 2, top + edge // 2), name, fill="black", font=font, anchor="mm")
        for column, picture in enumerate(pictures):
            method = Image.Resampling.NEAREST if picture.width < edge else Image.Resampling.LANCZOS
            sheet.paste(picture.resize((edge, edge), method), (LABELS + column * (edge + GAP), top))
    return sheet


def cut_out(sheet: Image.Image, column: int, row: int) -> Image.Image:
    """One picture of a sheet, as large as it is there: the base model's in row 0, the edited one's in row 1."""
    edge = (sheet.height - HEADER) // 2 - GAP
    left, top = LABELS + column * (edge + GAP), HEADER + row * (edge + GAP)
    return sheet.crop((left, top, left + edge, top + edge))


def _plain(concept: Concept) -> PromptPair:
    """The concept in the plain template; a style is shown on the first object that the model knows."""
    context = concept.contexts[0] if concept.kind == "style" and concept.contexts else ""
    return concept.pair(concept.templates[0], concept.phrases[0], context)


def _edge(width: int) -> int:
    return width * -(-EDGE // width) if width < EDGE else min(width, 2 * EDGE)


def _fitting(label: str, width: int, font: object) -> str:
    length = font.getlength  # type: ignore[attr-defined]
    while len(label) > 1 and length(label) > width:
        label = label.rstrip("…")[:-1] + "…"
    return label
