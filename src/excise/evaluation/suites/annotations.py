"""Showing the pictures of an answer set to a network; what it says is kept by the picture's content, so no variant shows one twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from PIL import Image

from excise.digests import digest_values
from excise.evaluation.suites.answer_set import Answered, AnswerSet
from excise.files import Shelf
from excise.progress import Progress

Annotation = dict[str, Any]
"""What an annotator says of one picture: plain values, as JSON can hold them."""

BATCH = 16


class Annotator(Protocol):
    """Says something of pictures, an annotation each.

    identity  differs from that of every annotator that would say something else; None: what it says is not kept
    about     what a result records of it
    """

    @property
    def identity(self) -> str | None: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    def __call__(self, images: Sequence[Image.Image]) -> list[Annotation]: ...


def annotate(
    answers: AnswerSet, annotator: Annotator, progress: Progress, *, allow_partial: bool = False
) -> list[tuple[Answered, Annotation]]:
    """Every picture of a set with what the annotator says of it.

    Raises IncompleteSetError if a picture is missing, ValueError if the annotator does not answer for every picture.
    """
    pictures = answers.check(allow_partial=allow_partial)
    notes, name = answers.notes if annotator.identity else Shelf(None), f"said-{digest_values(annotator.identity)[:16]}"
    kept = notes.get(name)
    known: dict[str, Annotation] = kept.about if kept else {}
    new = list({picture.sha256: picture for picture in pictures if picture.sha256 not in known}.values())
    try:
        for start in range(0, len(new), BATCH):
            progress("detecting", start, len(new))
            chunk = new[start : start + BATCH]
            said = annotator([picture.open() for picture in chunk])
            if len(said) != len(chunk):
                raise ValueError(f"the annotator said {len(said)} things of {len(chunk)} pictures")
            known |= {picture.sha256: annotation for picture, annotation in zip(chunk, said, strict=True)}
    finally:
        if new:
            notes.put(name, {}, known)
    progress("detecting", len(new), len(new))
    return [(picture, known[picture.sha256]) for picture in pictures]
