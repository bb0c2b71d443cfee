"""What `excise bench` writes: a cell for every erasure of a grid, and what the cells have in common."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.figures import Figure, NamedFigure, ResultRecord
from excise.results.evaluation import Evaluation
from excise.results.information import Collateral, Measurement, MeasurementSettings, Profile, Reading
from excise.results.result_file import Facts, ResultFile
from excise.results.suite_result import SuiteResult

OWN = "canvas"
"""The suite that asks for the model's own declared concepts and judges with its own classifier."""

RETRAINED = "retrained"
"""The entrant of the gold standard: a model trained from scratch without the concept, which no method can beat at being without it."""


class NatsLeft(ResultRecord):
    """Nats that words carried in the base model, and carry in the edited one; None where they are undefined."""

    base: Figure | None = None
    left: Figure | None = None
    share_left: Figure | None = None
    at_floor: bool

    @classmethod
    def of(cls, words: Reading) -> NatsLeft:
        assert words.edited is not None
        return cls(
            base=words.base.orthogonal,
            left=words.edited.orthogonal,
            share_left=words.share_left,
            at_floor=words.edited.at_floor,
        )


class CellInformation(ResultRecord):
    """What the words still say after an erasure; of several concepts the figures are those of the one that most is left of.

    nats, whole_prompt  of its words given the rest of the prompt, and of the whole prompt
    steering            1 as before, 0 ignored, negative: the model does the opposite; None where it is undefined
    destruction         likelihood that its pictures lost without any words, nats
    kept                what other concepts keep; steering_of_others: theirs, where it is defined
    profiles            of every erased concept, to three digits
    """

    nats: NatsLeft
    whole_prompt: NatsLeft
    steering: Figure | None = None
    destruction: Figure | None = None
    kept: Collateral | None = None
    steering_of_others: tuple[NamedFigure, ...] = ()
    settings: MeasurementSettings
    seconds: float
    profiles: tuple[Profile, ...] = ()

    @classmethod
    def of(cls, measured: Measurement) -> CellInformation:
        """The figures of a measurement of an edit."""
        reading = max(measured.concepts, key=lambda each: _value(each.conditional.share_left))
        others = [(other.concept, other.conditional.steering) for other in measured.others]
        return cls(
            nats=NatsLeft.of(reading.conditional),
            whole_prompt=NatsLeft.of(reading.unconditional),
            steering=reading.conditional.steering,
            destruction=reading.destruction,
            kept=measured.collateral,
            steering_of_others=tuple(NamedFigure(concept=name, **dict(found)) for name, found in others if found),
            settings=measured.settings,
            seconds=measured.seconds,
            profiles=tuple(_three_digits(each) for each in measured.concepts),
        )


class Cell(ResultFile):
    """One erasure of a grid: what was asked for, what was measured, or why it failed.

    entrant     the method with its settings, as it was written; in_turn: whether concepts were erased one after another
    evaluation  by the model's own concepts and classifier; suite: by a published protocol. None where it failed
    edit_mb     size of the edit's file, MiB; jobs: processes that worked at the same time
    error       why it failed; None where it did not
    """

    WHAT: ClassVar[str] = "a cell of excise bench"

    kind: Literal["cell"] = "cell"
    method: str
    entrant: str
    concepts: tuple[str, ...] = Field(min_length=1)
    in_turn: bool = False
    seed: int
    settings: Facts
    model: str
    base_fingerprint: dict[str, str] = Field(default_factory=dict)
    evaluation: Evaluation | None = None
    information: CellInformation | None = None
    suite: SuiteResult | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    edit_mb: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str | None = None
    threads: int | None = None
    jobs: int | None = None
    error: str | None = None
    traceback: str | None = None

    @property
    def task(self) -> str:
        """What was erased, in words: "object:cat", "object:cat + object:dog", "object:cat then object:dog"."""
        return (" then " if self.in_turn else " + ").join(self.concepts)

    @property
    def about(self) -> str:
        """Which cell it is, in words."""
        return f"{self.entrant} {self.task}, seed {self.seed}"


class Grid(ResultFile):
    """What every cell of a folder has in common, `bench.json`.

    suite        "canvas": the model's own concepts and classifier; or a published protocol, with its settings
    bystander_pictures  in each cell; None where none are asked for
    information  network evaluations for nats in each cell; None if they are not measured
    drawing      how pictures are made, where that is not the model's own way
    nats         whether they are of the model as it computes, rounded where it rounds
    base         fingerprints of the base model; files: a digest that tells that a model's files are those of before
    written      the other files of the folder, by their names in it; None where an earlier version wrote it
    """

    WHAT: ClassVar[str] = "the bench.json of excise bench"

    kind: Literal["grid"] = "grid"
    model: str
    dtype: str
    suite: str
    target_pictures: int | None = None
    other_pictures: int | None = None
    bystander_pictures: int | None = None
    quality: bool | None = None
    information: int | None = None
    suite_settings: dict[str, str] | None = None
    drawing: dict[str, int | float | str] | None = None
    nats: Literal["unrounded", "as the model computes"] | None = None
    base: dict[str, str] | None = None
    files: str | None = None
    written: tuple[str, ...] | None = None

    @property
    def facts(self) -> dict[str, object]:
        """What there is to say; of nats also that they are not measured."""
        said = self.model_dump(exclude={"format", "kind", "written"})
        return {
            name: value for name, value in said.items() if value is not None or (name == "information" and self.suite == OWN)
        }


def _value(figure: Figure | None) -> float:
    return -math.inf if figure is None else figure.value


def _three_digits(reading: Profile) -> Profile:
    return Profile.model_validate(_rounded(reading.model_dump(include=set(Profile.model_fields))))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_rounded(inner) for inner in value)
    return float(f"{value:.3g}") if isinstance(value, float) else value
