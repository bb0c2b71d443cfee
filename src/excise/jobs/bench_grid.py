"""What a benchmark runs: methods with settings x what they erase x seeds, each cell with the place of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.concepts import Concept
from excise.edits import Edit, compose, import_edit
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.methods import Method
from excise.models import Model, load
from excise.progress import Progress
from excise.requests.grid import Entrant, Task, file_name
from excise.results.cell import RETRAINED
from excise.results.cells import cell_path
from excise.settings import Settings


@dataclass(frozen=True)
class Gold:
    """A model that was trained without a concept: where it is, and which weights are there."""

    model: str | Path
    fingerprint: Mapping[str, str]

    @classmethod
    def read(cls, model: str | Path) -> Gold:
        return cls(model, base_fingerprint(load(model, device="cpu")))


@dataclass(frozen=True)
class Retrained:
    """Stands where a method erases: what was changed in the base to make the gold standard."""

    gold: Gold

    def __call__(self, model: Model, concepts: Sequence[Concept], settings: Settings, run: Run) -> Edit:
        return import_edit(
            model, load(self.gold.model, device=str(model.device)), concepts=tuple(each.to_dict() for each in concepts)
        )

    @property
    def entrant(self) -> Entrant:
        return Entrant(RETRAINED, Method(RETRAINED, "Retrained without it", "", Settings, self), Settings())


@dataclass(frozen=True)
class PlannedCell:
    """One erasure of the grid and the file that holds its result; gold is a model that was trained without the concept."""

    entrant: Entrant
    task: Task
    seed: int
    gold: Gold | None = None

    @property
    def name(self) -> tuple[str, str]:
        """Its method's and its own, readable; one that is too long for a file, or has letters that files cannot have, has a digest in it."""
        return file_name(self.entrant.text), f"{self.task.file_name}-s{self.seed}"

    def path(self, out: Path) -> Path:
        return cell_path(out, *self.name)

    def erase(self, model: Model, progress: Progress) -> Edit:
        """The edit; of concepts in turn the composition of one edit for each, made with the earlier ones on the model."""
        run = Run(self.seed, progress=progress)
        if not self.task.in_turn:
            return self.entrant.method.erase(model, self.task.concepts, self.entrant.settings, run)
        edits: list[Edit] = []
        with ExitStack() as on:
            for concept in self.task.concepts:
                edits.append(self.entrant.method.erase(model, (concept,), self.entrant.settings, run))
                on.enter_context(edits[-1].applied(model))
        return compose(edits)

    @property
    def about(self) -> dict[str, Any]:
        """What makes the cell: a file that says anything else is not its result."""
        return {
            "method": self.entrant.method.name,
            "entrant": self.entrant.text,
            "concepts": tuple(concept.label for concept in self.task.concepts),
            "in_turn": self.task.in_turn,
            "seed": self.seed,
            "settings": self.entrant.settings.model_dump(mode="json"),
        }


def grid(
    entrants: Sequence[Entrant], tasks: Sequence[Task], seeds: Sequence[int], gold: Mapping[str, Gold] | None = None
) -> list[PlannedCell]:
    """Every cell, tasks outermost, so that all methods are compared early.

    gold  task's label -> a model trained without its concepts, which is a row of its own
    """
    exact = gold or {}
    return [
        PlannedCell(entrant, task, seed, exact.get(task.label))
        for task in tasks
        for seed in dict.fromkeys(seeds)
        for entrant in [*entrants, *([Retrained(exact[task.label]).entrant] if task.label in exact else [])]
    ]
