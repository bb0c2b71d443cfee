"""What a benchmark runs: methods with settings x concepts x seeds, each cell with the place of its file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.concepts import Catalog, Concept
from excise.digests import digest_text
from excise.erasure.run import Run
from excise.files import fitting
from excise.jobs.inputs import check_seed
from excise.methods import Method, get
from excise.progress import Progress
from excise.report.method_table import RETRAINED
from excise.settings import Settings, parse_named

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.models import Model

SETS = {"objects": "object", "styles": "style", "members": "member"}
"""Words that stand for every declared concept of a kind."""


@dataclass(frozen=True)
class Entrant:
    """A method with its settings, as it was written."""

    text: str
    method: Method
    settings: Settings

    @classmethod
    def parse(cls, text: str) -> Entrant:
        """Read "mim:target=exclude,lr=5e-4". Raises ValueError for an unknown method or wrong settings."""
        name, values = parse_named(text)
        method = get(name)
        return cls(text, method, method.parse(values))


@dataclass(frozen=True)
class Gold:
    """A model that was trained without a concept: where it is, and which weights are there."""

    model: str | Path
    fingerprint: Mapping[str, str]

    @classmethod
    def read(cls, model: str | Path) -> Gold:
        from excise.edits.applied import base_fingerprint
        from excise.models import load

        return cls(model, base_fingerprint(load(model, device="cpu")))


@dataclass(frozen=True)
class Retrained:
    """Stands where a method erases: what was changed in the base to make the gold standard."""

    gold: Gold

    def __call__(self, model: Model, concepts: Sequence[Concept], settings: Settings, run: Run) -> Edit:
        from excise.edits import import_edit
        from excise.models import load

        return import_edit(
            model, load(self.gold.model, device=str(model.device)), concepts=tuple(each.to_dict() for each in concepts)
        )

    @property
    def entrant(self) -> Entrant:
        return Entrant(RETRAINED, Method(RETRAINED, "Retrained without it", "", Settings, self), Settings())


@dataclass(frozen=True)
class Task:
    """What a cell erases: concepts, all at once or one after another."""

    concepts: tuple[Concept, ...]
    in_turn: bool = False

    @classmethod
    def parse(cls, text: str, catalog: Catalog) -> Task:
        """Read "cat", "cat+dog" (together) or "cat>dog" (in turn). Raises ValueError for unknown names, or one named twice."""
        if "+" in text and ">" in text:
            raise ValueError(f"{text!r} mixes + (together) and > (one after another)")
        concepts = tuple(catalog.resolve(name) for name in re.split("[+>]", text))
        if len({concept.label for concept in concepts}) < len(concepts):
            raise ValueError(f"{text!r} names a concept twice")
        return cls(concepts, ">" in text)

    @property
    def label(self) -> str:
        return (">" if self.in_turn else "+").join(concept.label for concept in self.concepts)

    @property
    def file_name(self) -> str:
        names = [f"{each.kind}-{file_name(each.name)}" for each in self.concepts]
        return fitting(("_then_" if self.in_turn else "+").join(names))


@dataclass(frozen=True)
class Cell:
    """One erasure of the grid and the file that holds its result; gold is a model that was trained without the concept."""

    entrant: Entrant
    task: Task
    seed: int
    gold: Gold | None = None

    def path(self, out: Path) -> Path:
        """Readable; where a name is too long for a file or has letters that files cannot have, made distinct by its digest."""
        return out / "cells" / file_name(self.entrant.text) / f"{self.task.file_name}-s{self.seed}.json"

    def erase(self, model: Model, progress: Progress) -> Edit:
        """The edit; of concepts in turn the composition of one edit for each, made with the earlier ones on the model."""
        from excise.edits import compose

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
            "concepts": [concept.label for concept in self.task.concepts],
            "in_turn": self.task.in_turn,
            "seed": self.seed,
            "settings": json.loads(json.dumps(self.entrant.settings.model_dump(mode="json"))),
        }


def grid(
    methods: Sequence[str],
    concepts: Sequence[str],
    seeds: Sequence[int],
    catalog: Catalog,
    gold: Mapping[str, Gold] | None = None,
) -> list[Cell]:
    """Every cell, concepts outermost, so that all methods are compared early; what is named twice is there once.

    concepts: names; several to erase together ("cat+dog") or one after another ("cat>dog"); "objects", "styles", "members" for each of a kind.
    gold: name -> a model trained without it, which is a row of its own. Raises ValueError for unknown names.
    """
    entrants = [Entrant.parse(text) for text in dict.fromkeys(methods)]
    wanted: dict[str, Task] = {}
    for text in concepts:
        found = [Task((concept,)) for concept in catalog.of_kind(SETS[text])] if text in SETS else [Task.parse(text, catalog)]
        wanted |= {task.label: task for task in found}
    if not entrants or not wanted or not seeds:
        raise ValueError("a grid needs at least one method, one concept and one seed")
    for seed in seeds:
        check_seed(seed)
    exact = {Task.parse(name, catalog).label: model for name, model in (gold or {}).items()}
    cells = [
        Cell(entrant, task, seed, exact.get(label))
        for label, task in wanted.items()
        for seed in dict.fromkeys(seeds)
        for entrant in [*entrants, *([Retrained(exact[label]).entrant] if label in exact else [])]
    ]
    if len({cell.path(Path()) for cell in cells}) < len(cells):
        raise ValueError("two methods or concepts of the grid have names that differ only in signs that files cannot have")
    return cells


def file_name(text: str) -> str:
    """A name for a file or folder that can be read; with a digest where letters had to be left out or there are too many."""
    safe = re.sub(r"[^\w=.,+-]+", "_", text)
    plain = re.fullmatch(r"[\w=.,:+ -]+", text) and safe not in (".", "..") and not (" " in text and "_" in text)
    return fitting(safe if plain else f"{safe}-{digest_text(text)[:6]}")
