"""What `excise queue run` writes: which requests were served by which edits, and what was measured after each."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from excise.figures import ResultRecord
from excise.results.evaluation import Evaluation
from excise.results.result_file import Facts, ResultFile

GivenBack = Literal["bit for bit", "by erasing others anew", "was never erased"]
"""How a concept came back whose request was withdrawn."""


class RemovalRecord(ResultRecord):
    """A request, and what became of it.

    key        of the request: its concept's label, with a number if the concept was requested before
    work       digest of what was to be done: method, settings, seed, concept
    state      served: its concept is erased in the result; withdrawn: it is not
    step       name of the edit that erases it; None if none does
    served     day on which it was erased; withdrawn: on which it was given back (ISO 8601, UTC)
    given_back how; None while it is erased
    """

    key: str
    concept: str
    phrases: tuple[str, ...]
    date: str | None = None
    reason: str = ""
    method: str
    settings: Facts
    work: str
    state: Literal["served", "withdrawn"]
    step: str | None = None
    served: str | None = None
    withdrawn: str | None = None
    given_back: GivenBack | None = None


class RemovalStep(ResultRecord):
    """One edit of the result.

    name      of its folder
    works     digests of what it does, one a request
    below     names of the edits that were on the model when it was made
    separable whether its part of each concept can be taken out and leaves the others as they are
    seconds   that it took; None of a part of an earlier one
    """

    name: str
    works: tuple[str, ...]
    concepts: tuple[str, ...]
    method: str
    below: tuple[str, ...]
    separable: bool
    seconds: float | None = None


class ErosionPoint(ResultRecord):
    """The model with some edits on.

    steps      names of the edits
    concepts   labels of what they erase
    drift      norm of the change over the norm of all weights that an edit may change; None for adapters
    evaluation of these edits beside the base model; None where it was not measured, and `note` says why
    asked      pictures that were asked for: of each erased concept, of each other one, of bystanders in all; None where that was not recorded
    """

    steps: tuple[str, ...]
    concepts: tuple[str, ...]
    drift: float | None = None
    evaluation: Evaluation | None = None
    note: str = ""
    asked: tuple[int, int, int] | None = None


class RemovalLedger(ResultFile):
    """The `queue.json` of a result.

    base     fingerprints of the base model
    records  every request that there was, in the order of the queue's file; then those that were deleted there
    steps    the edits that the result is put together from, in the order in which they were made
    points   what was measured, oldest first
    written  the other files of the folder, by their names in it
    """

    WHAT: ClassVar[str] = "the queue.json of excise queue run"

    kind: Literal["queue"] = "queue"
    model: str
    base: dict[str, str] = Field(default_factory=dict)
    strategy: str
    seed: int
    records: tuple[RemovalRecord, ...] = ()
    steps: tuple[RemovalStep, ...] = ()
    points: tuple[ErosionPoint, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    written: tuple[str, ...] = ()

    @property
    def erased(self) -> dict[str, RemovalRecord]:
        """What the result erases, by the label of the concept."""
        return {record.concept: record for record in self.records if record.state == "served"}
