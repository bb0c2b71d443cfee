"""What a benchmark is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from excise import bounds
from excise.evaluation import suites
from excise.evaluation.picture_counts import BYSTANDER_PICTURES, OTHER_PICTURES, TARGET_PICTURES
from excise.evaluation.weights import check_names
from excise.files import FolderKind, check_ours
from excise.information.budget import BESIDE
from excise.models.names import Description, check_never_saw, describe, resolve
from excise.quoting import quoted
from excise.requests.drawn import Drawn
from excise.requests.fields import (
    Count,
    Evaluations,
    Flag,
    Names,
    PathOrName,
    Pictures,
    PicturesOrNone,
    SeedNumber,
    UserPath,
    spaced,
    words,
)
from excise.requests.grid import Entrant, Task, file_name, read_entrants, read_tasks
from excise.results.cell import OWN, Grid
from excise.settings import parse_assignments

BENCH = FolderKind(
    "bench.json",
    Grid.read,
    earlier=r"cells/[^/]+/[^/]+\.(json|png)|cells\.jsonl\.gz|results\.(csv|md)|collateral\.csv|report\.html",
)
"""A benchmark: the marker holds what all its cells have in common, which come one by one."""

Runner = Literal["local", "ray"]


def _labels(texts: Sequence[str]) -> list[str]:
    """Concepts in texts, with blanks between."""
    return [spaced(name) for name in words(texts)]


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """CONCEPT=MODEL, each. Raises ValueError for a text without the sign, or a concept named twice."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, model in pairs:
        if not (name and equals and model):
            raise ValueError(f"expected CONCEPT=MODEL for --gold, got {quoted(name + equals + model)}")
    if len({name for name, *_ in pairs}) < len(pairs):
        raise ValueError("two gold standards for one concept")
    return {spaced(name): model for name, _, model in pairs}


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) else tuple(value)


class BenchRequest(Drawn):
    """Run a grid of erasures; each cell is a file, and a rerun does only what is missing.

    Writes the grid's tables and its report. A failed cell says why, and the rest goes on. A method is given as its name, with settings after
    a colon: "mim:target=exclude,lr=5e-4". A process that dies costs only the cell it was at. On a Ray cluster excise must be installed and
    `model` found on every node.

    Returns every cell's content. Raises ValueError or FileNotFoundError for bad names before any weight is loaded, and ValueError if the
    cells in `out` are of another model or precision, or measured otherwise.
    """

    methods: Annotated[Names, Flag(read=words)] = Field(description="Methods, with settings after a colon: mim:lr=1e-3.")
    concepts: Annotated[Names, Flag(read=_labels)] = Field(
        description="Concepts: cat, cat+dog (together), cat>dog (in turn); objects, styles, members for each."
    )
    out: UserPath = Field(description="Folder of the grid: cells, results.csv, results.md, collateral.csv, report.html.")
    seeds: Annotated[tuple[SeedNumber, ...], BeforeValidator(_one_or_more, json_schema_input_type=int | Sequence[int])] = Field(
        (0,), description="Seeds of everything random; may be given several times."
    )
    target_pictures: Pictures = Field(TARGET_PICTURES, description="Pictures of each erased concept.")
    other_pictures: Pictures = Field(OTHER_PICTURES, description="Pictures of each other concept.")
    bystander_pictures: PicturesOrNone = Field(
        BYSTANDER_PICTURES,
        description="Pictures, in all, of things that the model lists as known and no method is told of; 0: none.",
    )
    quality: bool = Field(True, description="Also how much the kept concepts' pictures have changed (FID, KID, pixels).")
    information: bool = Field(True, description="Also how many nats the words still carry, the concept's and others'.")
    budget: Evaluations = Field(BESIDE, description="Network evaluations for that, in each cell.")
    gold: Annotated[dict[str, PathOrName], Flag(metavar="CONCEPT=MODEL", read=_pairs)] = Field(
        {}, description="A model that was trained without the concept, as a row and to measure distances to."
    )
    suite: str = Field(
        OWN, description="canvas: the model's own concepts and classifier; or a published one: excise suite list."
    )
    suite_settings: Annotated[dict[str, Any], Flag("--suite-set", read=parse_assignments)] = Field(
        {}, description="Setting of the suite; its target is each concept."
    )
    weights: Annotated[dict[str, PathOrName], Flag(metavar="NAME=PATH", read=parse_assignments)] = Field(
        {}, description="Weights that the suite scores with."
    )
    retry: bool = Field(False, description="Also run the cells that failed before.")
    jobs: Count = Field(1, description="Processes that share the cells, each with its own copy of the model.")
    runner: Runner = Field("local", description="Where they run: here, or on a Ray cluster.")

    @cached_property
    def described(self) -> Description:
        """The model, as far as its folder says without weights."""
        return describe(resolve(self.model))

    @cached_property
    def entrants(self) -> tuple[Entrant, ...]:
        """The methods; one that is named twice is there once."""
        return read_entrants(self.methods)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """What is erased."""
        return read_tasks(self.concepts, self.described.catalog)

    @cached_property
    def exact(self) -> Mapping[str, str]:
        """The gold standards by the labels of their tasks. Raises ValueError or FileNotFoundError for wrong ones."""
        found: dict[str, str] = {}
        for name, model in self.gold.items():
            task = Task.parse(name, self.described.catalog)
            if task.label not in {asked.label for asked in self.tasks}:
                raise ValueError(f"a gold standard for {task.label}, which is not among the concepts of the grid")
            for concept in task.concepts:
                check_never_saw(model, concept)
            found[task.label] = model
        return found

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        super().check()
        if self.runner == "ray" and find_spec("ray") is None:
            raise ValueError("the runner needs Ray: pip install 'excise[cluster]'")
        self._check_names()
        for entrant in self.entrants:
            entrant.method.check_model(self.model)
        self._check_suite()
        _ = self.exact
        check_ours(self.out, BENCH)  # cells are added to a grid's folder, to nothing else

    def _check_names(self) -> None:
        """Raise ValueError for wrong names, or those that would have one file."""
        if not (self.entrants and self.tasks and self.seeds):
            raise ValueError("a grid needs at least one method, one concept and one seed")
        cells = len(self.entrants) * len(self.tasks) * len(self.seeds)
        if cells > bounds.CELLS:
            raise ValueError(f"the grid has {cells} cells, more than {bounds.CELLS}")
        for names in ([file_name(one.text) for one in self.entrants], [one.file_name for one in self.tasks]):
            if len(set(names)) < len(names):
                raise ValueError(
                    "two methods or concepts of the grid have names that differ only in signs that files cannot have"
                )

    def _check_suite(self) -> None:
        """Raise ValueError if the suite cannot measure this grid."""
        if self.suite == OWN:
            if self.suite_settings or self.weights:
                raise ValueError(f"the suite {OWN!r} takes no settings or weights; name a published one (excise suite list)")
            if self.described.classifier is None:
                raise ValueError(f"the model {self.described.name!r} brings no classifier, so nothing can be measured")
        else:
            if self.gold or self.runner == "ray":
                raise ValueError(f"gold standards and Ray are for the suite {OWN!r}")
            suites.get(self.suite)
            check_names(self.weights)
