"""What `excise suite run` says of a model and its edits by a published protocol."""

from __future__ import annotations

from typing import ClassVar, Literal

from excise.figures import Figure, ResultRecord
from excise.results.origin import EditIdentity
from excise.results.result_file import Facts, ResultFile

SuiteFigures = dict[str, Figure | None]
"""Figures by the suite's own names for them; None: not measured."""

PARTS = ("base", "edited")


class SeedSpan(ResultRecord):
    """Seeds of the pictures: the lowest, the highest, how many different ones."""

    lowest: int
    highest: int
    different: int


class SuiteTimings(ResultRecord):
    """Seconds for making the pictures and for scoring them."""

    gen_s: float
    eval_s: float


class Metrics(ResultRecord):
    """Figures of the base and of the edited model; None where a model was not scored."""

    base: SuiteFigures | None = None
    edited: SuiteFigures | None = None

    @property
    def parts(self) -> dict[str, SuiteFigures]:
        """What was scored, by model."""
        return {part: found for part in PARTS if (found := getattr(self, part)) is not None}


class SuiteResult(ResultFile):
    """Everything that makes a suite's figures.

    partial     share of the pictures that were there, by model, of an incomplete set; None: all
    base_model  name, fingerprints and precision; of pictures made elsewhere not known
    scored_by   detector, weights, variant
    difference  edited - base, of what was measured of both
    detail      what the figures are made of, by model: per concept, per class
    method      the edits that were on the model; None without any
    """

    WHAT: ClassVar[str] = "what excise suite run writes"

    kind: Literal["suite"] = "suite"
    toolkit_version: str
    protocol: str
    source: str
    settings: Facts
    prompts_hash: str
    n_images: int
    partial: dict[str, str] | None = None
    seeds: SeedSpan
    base_model: Facts
    sampler: Facts | None = None
    rng: str
    image_format: str
    scored_by: Facts
    metrics: Metrics
    difference: dict[str, float] | None = None
    detail: dict[str, Facts]
    hardware: str
    warnings: tuple[str, ...] = ()
    method: tuple[EditIdentity, ...] | None = None
    timings: SuiteTimings
