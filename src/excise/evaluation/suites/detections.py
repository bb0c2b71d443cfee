"""Showing the pictures of an answer set to a detector; what it says is kept by the picture's content, so no variant classifies twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from excise.digests import digest_values
from excise.evaluation.suites.answer_set import Answered, AnswerSet
from excise.files import read_json, write_json

if TYPE_CHECKING:
    from PIL import Image

    from excise.progress import Progress

Detection = dict[str, Any]
"""What a detector says of one picture: plain values, as JSON can hold them."""

BATCH = 16


class PictureDetector(Protocol):
    """Says something of pictures, a dictionary each.

    identity  differs from that of every detector that would say something else; None: what it says is not kept
    about     what a result records of it
    """

    @property
    def identity(self) -> str | None: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    def __call__(self, images: Sequence[Image.Image]) -> list[Detection]: ...


class Adapted:
    """A user's own function as a detector."""

    identity = None

    def __init__(self, detect: Callable[[Sequence[Image.Image]], list[Detection]]) -> None:
        self.detect = detect
        self.about = {"detector": getattr(detect, "__name__", type(detect).__name__)}

    def __call__(self, images: Sequence[Image.Image]) -> list[Detection]:
        return self.detect(images)


def detect(
    answers: AnswerSet, detector: PictureDetector, progress: Progress, *, allow_partial: bool = False, stage: str = "detecting"
) -> list[tuple[Answered, Detection]]:
    """Every picture of a set with what the detector says of it.

    Raises IncompleteSetError if a picture is missing, ValueError if the detector does not answer for every picture.
    """
    pictures = answers.check(allow_partial=allow_partial)
    path = answers.notes / f"{digest_values(detector.identity)[:16]}.json" if detector.identity else None
    known: dict[str, Detection] = read_json(path) if path and path.is_file() else {}
    new = list({picture.sha256: picture for picture in pictures if picture.sha256 not in known}.values())
    try:
        for start in range(0, len(new), BATCH):
            progress(stage, start, len(new))
            chunk = new[start : start + BATCH]
            said = detector([picture.open() for picture in chunk])
            if len(said) != len(chunk):
                raise ValueError(f"the detector said {len(said)} things of {len(chunk)} pictures")
            known |= {picture.sha256: detection for picture, detection in zip(chunk, said, strict=True)}
    finally:
        if path and new:
            write_json(path, known)
    progress(stage, len(new), len(new))
    return [(picture, known[picture.sha256]) for picture in pictures]
