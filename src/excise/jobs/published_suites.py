"""How a published protocol measures the cells of a benchmark, where the model's own concepts and classifier do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.edits import Edit
from excise.evaluation.suites import Suite, get
from excise.evaluation.suites.answer_set import MANIFEST, AnswerSet, read_manifest
from excise.evaluation.weights import check_names
from excise.jobs.bench_grid import PlannedCell
from excise.jobs.provenance import identity
from excise.jobs.suite import make_answers, measure
from excise.models import Model
from excise.progress import Progress
from excise.results.suite_result import SuiteResult
from excise.settings import Settings

BASE = "base"
"""Where in a benchmark's folder the base model's pictures are; those of an edited model are in `pictures`, by method and concept."""


@dataclass
class PublishedSuites:
    """A suite in a benchmark: every cell has an answer set, the base model's is made once.

    settings  of the suite; its "target" is each cell's concept unless it is given
    weights   paths of the networks that it scores with, by name
    out       the benchmark's folder
    """

    name: str
    settings: Mapping[str, Any]
    weights: Mapping[str, str]
    out: Path
    tools: Any = None

    @property
    def suite(self) -> Suite:
        return get(self.name)

    def settings_of(self, cell: PlannedCell) -> Settings:
        """The suite's settings for a cell. Raises ValueError for wrong ones, or several concepts where the suite scores one target."""
        values = dict(self.settings)
        if "target" in self.suite.settings.model_fields and "target" not in values:
            if len(cell.task.concepts) > 1:
                raise ValueError(f"{self.name} scores one target, and {cell.task.label} are several; give target=")
            values["target"] = cell.task.label.replace(" ", "_")
        return self.suite.parse(values)

    def check(self, cells: Sequence[PlannedCell]) -> None:
        """Raise what is wrong with settings, prompt files or weights, before any picture is made."""
        check_names(self.weights)
        for cell in cells:
            self.suite.items(self.settings_of(cell))
        self.suite.tools(self.settings_of(cells[0]), self.weights)

    def make_base(self, model: Model, cell: PlannedCell, progress: Progress) -> None:
        """The base model's pictures, before several processes would make the same ones."""
        make_answers(self.suite, self.suite.items(self.settings_of(cell)), model, (), self.out / BASE, progress)

    def _drop_others(self, folder: Path, edit: Edit) -> None:
        """Delete pictures of an erasure that was stopped, and made again came out otherwise: they can never be completed."""
        if (folder / MANIFEST).is_file():
            about = read_manifest(folder / MANIFEST).about
            if about.get("edits") != [identity(edit).model_dump(mode="json")]:
                AnswerSet.delete(folder)

    def measure(self, model: Model, cell: PlannedCell, edit: Edit, progress: Progress) -> SuiteResult:
        """What a cell says of its edit, as `excise suite run` does."""
        settings, where = self.settings_of(cell), cell.path(self.out)
        self.tools = self.tools or self.suite.tools(settings, self.weights)
        pictures = self.out / "pictures" / where.parent.name / where.stem
        self._drop_others(pictures / "edited", edit)
        base = self.out / BASE
        return measure(self.suite, settings, self.tools, model, [edit], out=pictures, base=base, progress=progress)
