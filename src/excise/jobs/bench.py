"""A grid of erasures: methods x concepts x seeds. Each cell is a file, so a rerun does only what is missing.

A method is given as its name, with settings after a colon: "mim", "mim:target=exclude,lr=5e-4". No figure depends on which other methods are in
the grid.
"""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.concepts import Catalog, Concept
from excise.erasure.run import Progress, Run, silent
from excise.files import write_json
from excise.methods import Method, Settings, get, parse_settings
from excise.models.names import describe, resolve

if TYPE_CHECKING:
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
        name, _, rest = text.partition(":")
        values: dict[str, Any] = {}
        for assignment in filter(None, rest.split(",")):
            key, equals, value = assignment.partition("=")
            if not equals:
                raise ValueError(f"expected key=value after {name!r}:, got {assignment!r}")
            values[key] = value
        method = get(name)
        return cls(text, method, parse_settings(method, values))


@dataclass(frozen=True)
class Cell:
    """One erasure of the grid and the file that holds its result."""

    entrant: Entrant
    concept: Concept
    seed: int

    def path(self, out: Path) -> Path:
        folder = re.sub(r"[^\w=.-]+", "_", self.entrant.text)
        return out / "cells" / folder / f"{self.concept.kind}-{self.concept.name.replace(' ', '_')}-s{self.seed}.json"


def grid(methods: Sequence[str], concepts: Sequence[str], seeds: Sequence[int], catalog: Catalog) -> list[Cell]:
    """Every cell, concepts outermost, so that all methods are compared early.

    concepts: names, or "objects", "styles", "members" for all of a kind. Raises ValueError for unknown names.
    """
    entrants = [Entrant.parse(text) for text in methods]
    wanted: dict[str, Concept] = {}
    for text in concepts:
        found = catalog.of_kind(SETS[text]) if text in SETS else (catalog.resolve(text),)
        wanted |= {concept.label: concept for concept in found}
    if not entrants or not wanted or not seeds:
        raise ValueError("a grid needs at least one method, one concept and one seed")
    return [Cell(entrant, concept, seed) for concept in wanted.values() for seed in seeds for entrant in entrants]


def bench(
    *,
    methods: Sequence[str],
    concepts: Sequence[str],
    out: str | Path,
    model: str | Path = "canvas",
    seeds: Sequence[int] = (0,),
    target_pictures: int = 200,
    other_pictures: int = 24,
    retry: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Run what is missing of a grid and write the tables of `out`; a failed cell says why and the rest goes on.

    retry  also run the cells that failed before
    Returns every cell's content. Raises ValueError or FileNotFoundError for bad names before any weight is loaded.
    """
    out = Path(out)
    cells = grid(methods, concepts, seeds, describe(resolve(model)).catalog)
    missing = [cell for cell in cells if not _done(cell.path(out), retry)]
    loaded = None
    for index, cell in enumerate(missing):
        progress(f"{cell.entrant.text} {cell.concept.label}", index, len(missing))
        if loaded is None:
            from excise.models import load

            loaded = load(model, device=device)
        write_json(cell.path(out), _run(loaded, cell, target_pictures, other_pictures))
    progress("bench", len(missing), len(missing))
    results = [json.loads(cell.path(out).read_text(encoding="utf-8")) for cell in cells]
    from excise.report.tables import write_tables

    write_tables(out)
    return results


def _done(path: Path, retry: bool) -> bool:
    return path.is_file() and not (retry and "error" in json.loads(path.read_text(encoding="utf-8")))


def _run(model: Model, cell: Cell, target_pictures: int, other_pictures: int) -> Mapping[str, Any]:
    """Erase and measure; a failure becomes the cell's content."""
    from excise.evaluation import evaluate

    about = {
        "method": cell.entrant.method.name,
        "entrant": cell.entrant.text,
        "concepts": [cell.concept.label],
        "seed": cell.seed,
        "model": model.name,
        "settings": cell.entrant.settings.model_dump(),
    }
    try:
        began = time.perf_counter()
        edit = cell.entrant.method.erase(model, (cell.concept,), cell.entrant.settings, Run(cell.seed))
        seconds = time.perf_counter() - began
        evaluation = evaluate(
            model, (cell.concept,), edit, seed=cell.seed, target_pictures=target_pictures, other_pictures=other_pictures
        )
    except Exception as error:
        return {**about, "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    facts = {"seconds": seconds, "edit_mb": edit.nbytes / 2**20, "base_fingerprint": edit.manifest.base, **_machine()}
    return {**about, **evaluation.to_dict(), **facts}


def _machine() -> dict[str, Any]:
    import os
    import platform

    from excise.edits.manifest import versions

    return {"versions": versions(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
