"""What a suite is, and the registry of suites: one file each in this package; dropping in a file is enough. No torch here."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from excise.evaluation.suites.prompt_file import PromptItem
from excise.hints import nearest
from excise.settings import Settings, parse
from excise.statistics import wilson

if TYPE_CHECKING:
    from excise.evaluation.suites.answer_set import AnswerSet
    from excise.progress import Progress


@dataclass(frozen=True)
class Figure:
    """A measured number.

    ci95  ends of its 95 % interval, or None where it has none
    n     pictures it rests on
    """

    value: float | None
    n: int
    ci95: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "n": self.n, "ci95": list(self.ci95) if self.ci95 else None}

    @classmethod
    def share(cls, hits: int, n: int) -> Figure:
        """A share with Wilson's interval; not measured for none."""
        return cls(hits / n, n, wilson(hits, n)) if n else cls(None, 0)


@dataclass(frozen=True)
class Score:
    """What a suite says of one answer set.

    figures    by name
    detail     what they are made of: per concept, per class
    about      detector, weights, variant: what else makes the numbers
    warnings   what keeps them from being compared with published ones
    """

    figures: Mapping[str, Figure]
    detail: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class Suite(ABC):
    """A published protocol: prompts, a detector, figures.

    weights  names of the weights that it may need (`excise.evaluation.weights`)
    files    what else the user supplies, in words
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    settings: ClassVar[type[Settings]]
    weights: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[str] = ""

    def parse(self, values: Mapping[str, Any]) -> Settings:
        """Its settings from plain values. Raises ValueError in one line that names every wrong key or value."""
        return parse(self.settings, values, f"setting of {self.name}")

    @abstractmethod
    def items(self, settings: Any) -> list[PromptItem]:
        """Every picture of its answer set. Raises ValueError or FileNotFoundError for a prompt file that is not right."""

    @abstractmethod
    def tools(self, settings: Any, weights: Mapping[str, str | Path]) -> Any:
        """Load what it scores with, before any picture is made. Raises MissingWeightsError, or ValueError for wrong weights."""

    @abstractmethod
    def score(
        self, settings: Any, tools: Any, answers: AnswerSet, base: AnswerSet | None, progress: Progress, *, allow_partial: bool
    ) -> Score:
        """Figures of one answer set; `base` is the base model's, for figures that compare with it."""


_suites: dict[str, Suite] = {}
S = TypeVar("S", bound=type[Suite])


def register(suite: S) -> S:
    """Decorator that enters a suite. Raises ValueError for a taken or not lower-case name."""
    if suite.name in _suites or suite.name != suite.name.lower():
        raise ValueError(f"suite name {suite.name!r} is taken or not lower-case")
    _suites[suite.name] = suite()
    return suite


def suites() -> dict[str, Suite]:
    """Every suite by name, sorted."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.ispkg:
            importlib.import_module(f"{package}.{module.name}.scoring")
    return dict(sorted(_suites.items()))


def get(name: str) -> Suite:
    """The suite of that name. Raises ValueError with the nearest match."""
    known = suites()
    if name not in known:
        raise ValueError(f"unknown suite {name!r}; {nearest(name, list(known))}")
    return known[name]
