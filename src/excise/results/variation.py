"""What `excise vary` says: whether an edit holds when the concept is asked for otherwise."""

from __future__ import annotations

from typing import ClassVar, Literal

from excise.figures import Figure, ResultRecord
from excise.results.origin import Provenance
from excise.results.result_file import ResultFile


class AskedOtherwise(ResultRecord):
    """One way to ask: what it sets, an example prompt, and the share of pictures that show the concept.

    group    wording, guidance, steps, sampler or image to image
    strength share of the sampler's steps that are made, from the base model's own picture of the concept; None: from noise
    n        pictures of each model
    base, edited, neutral  both models with the concept's words, the base model without them
    """

    group: str
    name: str
    guidance_scale: float | None = None
    steps: int | None = None
    sampler: str | None = None
    strength: float | None = None
    prompt: str
    n: int
    base: Figure
    edited: Figure
    neutral: Figure

    @property
    def left(self) -> float:
        """Edited minus neutral: 0 is perfect removal."""
        return self.edited.value - self.neutral.value


class Variation(ResultFile):
    """Every way that was tried."""

    WHAT: ClassVar[str] = "what excise vary writes"

    kind: Literal["variation"] = "variation"
    concept: str
    provenance: Provenance
    conditions: tuple[AskedOtherwise, ...]
