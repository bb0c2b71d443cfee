"""Residual information: what a concept's words still say about pictures, in nats per picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from excise.figures import Figure, NamedFigure, ResultRecord
from excise.results.origin import Provenance
from excise.results.result_file import ResultFile

Rows = tuple[tuple[float, ...], ...]


class Forms(ResultRecord):
    """What the words say in one model, nats per picture; None (undefined) where the model computed no finite number.

    orthogonal "nats left": never negative
    plain      mean log-ratio of likelihoods; negative where the model steers away
    steering   blind steering coefficient from the two; None (undefined) where they do not stand out of the noise
    floor      orthogonal nats that rewording the rest of the prompt seems to carry, at least 0.01
    at_floor   whether nothing is left that could be told from noise: not more nats than the floor, and the plain form is around zero
    """

    orthogonal: Figure | None = None
    plain: Figure | None = None
    steering: Figure | None = None
    floor: float
    at_floor: bool


class Reading(ResultRecord):
    """The words' information before and after; everything but `base` is None without an edit.

    share_left edited over base, orthogonal form
    steering   direct coefficient: 1 intact, 0 ignored, negative steers away; None where the base knows nothing
    alignment  cosine between the words' effect before and after; None where either is nothing
    """

    base: Forms
    edited: Forms | None = None
    share_left: Figure | None = None
    steering: Figure | None = None
    alignment: Figure | None = None


class Densities(ResultRecord):
    """Nats per unit of log-SNR, a number for each bin, of both forms."""

    orthogonal: tuple[float, ...]
    plain: tuple[float, ...]


class Curve(ResultRecord):
    """Nats by log-SNR: each curve times the widths of its bins sums to the nats of its form.

    edges  (bins + 1,) log-SNR, ascending
    """

    edges: tuple[float, ...] = Field(min_length=2)
    base: Densities
    edited: Densities | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(one > other for one, other in pairwise(self.edges)):
            raise ValueError("edges should be ascending")
        for found in (self.base, *([self.edited] if self.edited else [])):
            if {len(found.orthogonal), len(found.plain)} != {len(self.edges) - 1}:
                raise ValueError("between every two edges should be one number of each form")
        return self


class Maps(ResultRecord):
    """Mean orthogonal nats by latent pixel, row by row."""

    base: Rows
    edited: Rows | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        shapes = {tuple(map(len, rows)) for rows in (self.base, *([self.edited] if self.edited is not None else []))}
        if len(shapes) > 1 or len(set(*shapes)) != 1 or 0 in set(*shapes):
            raise ValueError("maps should have rows of one length, the same in both models")
        return self

    @property
    def by_model(self) -> dict[str, Rows]:
        """The base model's, and the edited one's if there is one."""
        return {"base": self.base, **({"edited": self.edited} if self.edited else {})}


class Profile(ResultRecord):
    """Where a concept's words are heard: by noise level and in the picture."""

    concept: str
    curve: Curve | None = None
    maps: Maps | None = None


class ConceptReading(Profile):
    """All about one concept.

    conditional   its words given the rest of the prompt: the figure an edit is judged by
    unconditional the whole prompt against the empty one
    destruction   log-likelihood that the empty prompt lost on the concept's pictures, nats: above 0, knowledge was destroyed
    rest_loss     the same for the rest of the prompt
    examples      a few pictures with their own maps, for the figure (`excise.information.Example`); in no file
    """

    pictures: int
    source: str
    prompts: tuple[str, ...]
    conditional: Reading
    unconditional: Reading
    destruction: Figure | None = None
    rest_loss: Figure | None = None
    examples: tuple[Any, ...] = Field((), exclude=True, repr=False)


class Collateral(ResultRecord):
    """The share of the base model's nats that other concepts keep (orthogonal form, given the rest of the prompt).

    mean  over those of which the base model knows something, each counted as at most 1; None where one of them is undefined
    kept  of each of them that is defined; worst: the smallest, None where one is undefined
    """

    mean: Figure | None = None
    worst: NamedFigure | None = None
    kept: tuple[NamedFigure, ...]

    def of(self, concept: str) -> Figure | None:
        """The share of one concept; None where it was not measured."""
        return next((each for each in self.kept if each.concept == concept), None)


class NoiseLaw(ResultRecord):
    """Logistic law that the noise levels are drawn from, by log-SNR."""

    loc: float
    scale: float


class MeasurementSettings(ResultRecord):
    """How it was measured.

    budget, evaluations network evaluations that were allowed, and made
    noise_levels        of each picture; log_snr_range: where they lie
    precision           the model computed in
    base                name of the model that the measured one was compared with
    self_made_pictures  whether the measured model made the pictures itself
    """

    seed: int
    budget: int
    evaluations: int
    noise_levels: int
    log_snr_range: tuple[float, float]
    log_snr_law: NoiseLaw
    latent_dimensions: int
    guidance_scale: float
    sampler_steps: int
    phrasings: str
    precision: str | None = None
    base: str | None = None
    self_made_pictures: bool


class Measurement(ResultFile):
    """Residual information of concepts in a model, and what the edits cost the others.

    model, edits what was measured; settings: how
    provenance   fingerprint, edits, versions; only in files that `excise measure` writes
    """

    WHAT: ClassVar[str] = "what excise measure writes"

    kind: Literal["information"] = "information"
    model: str
    edits: tuple[str, ...]
    unit: Literal["nats per picture"] = "nats per picture"
    concepts: tuple[ConceptReading, ...]
    others: tuple[ConceptReading, ...]
    collateral: Collateral | None = None
    settings: MeasurementSettings
    seconds: float
    provenance: Provenance | None = None

    @property
    def compared(self) -> bool:
        """Whether two models were measured."""
        return all(reading.conditional.edited is not None for reading in self.concepts)

    def brief(self) -> Measurement:
        """What an edit's manifest keeps: without curves, maps, pictures and the other concepts' readings."""
        kept = tuple(reading.model_copy(update={"curve": None, "maps": None, "examples": ()}) for reading in self.concepts)
        return self.model_copy(update={"concepts": kept, "others": ()})
