"""What `excise prune` and `excise distill` say of the model that they write: where it comes from, and what it learned."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from excise.figures import ResultRecord
from excise.results.result_file import Facts, ResultFile

MARKER = "student.json"
"""The file beside a model that says so."""


class Source(ResultRecord):
    """A model: its name, and fingerprints of its weights by dtype."""

    model: str
    fingerprint: dict[str, str]


class Pruning(ResultRecord):
    """What was taken out of a model.

    base       the whole model
    keep       the share of its denoiser's parameters that was asked for
    removed    what was taken out, in words, in the order in which it went
    parameters of the denoiser: of the whole one, and of what is left
    """

    base: Source
    keep: float
    removed: tuple[str, ...]
    parameters_before: int
    parameters: int

    @property
    def share(self) -> float:
        """Of the parameters that are left, 0–1."""
        return self.parameters / self.parameters_before


class RoundLosses(ResultRecord):
    """Mean losses of a round of a distillation; None where none was looked at.

    lower    repairing, of the student that is written
    upper    erasing
    repaired repairing, of the student of mode "penalty" that does nothing else
    gap      lower of the one less that of the other, on the same pictures
    cosine   of the two levels' gradients
    """

    lower: float | None = None
    upper: float | None = None
    repaired: float | None = None
    gap: float | None = None
    cosine: float | None = None


class Distillation(ResultRecord):
    """How a student learned from a teacher.

    concepts    what was erased meanwhile, by label; none: it was repaired alone
    mode, upper how the two levels were put together and whose loss erased; None where nothing was erased
    rounds      mean losses of each
    seconds     of making pictures and training, stretches before a resume included
    """

    student: Source
    teacher: Source
    concepts: tuple[str, ...] = ()
    mode: Literal["penalty", "alternating"] | None = None
    upper: str | None = None
    settings: Facts
    seed: int
    rounds: tuple[RoundLosses, ...]
    seconds: float
    dtype: str
    device: str
    versions: dict[str, str]


class StudentFile(ResultFile):
    """What `student.json` holds: of a model folder with fewer blocks than its base, or one that learned from a teacher.

    model     its name and fingerprint
    pruning   None: not by excise, or nothing was taken out
    distilled every distillation, oldest first
    written   the other files of the folder, by their names in it
    """

    WHAT: ClassVar[str] = "what excise prune or excise distill writes"

    kind: Literal["student"] = "student"
    model: Source
    pruning: Pruning | None = None
    distilled: tuple[Distillation, ...] = Field(default=())
    written: tuple[str, ...] = ()
