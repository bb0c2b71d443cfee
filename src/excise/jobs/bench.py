"""A grid of erasures: methods x concepts x seeds. Each cell is a file, so a rerun does only what is missing.

A method is given as its name, with settings after a colon: "mim", "mim:target=exclude,lr=5e-4". No figure depends on which other methods are in
the grid.
"""

from __future__ import annotations

import hashlib
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

GRID = "bench.json"
"""What every cell of a folder has in common."""

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
        """Readable; where a name has letters that files cannot have, made distinct by its digest."""
        return (
            out
            / "cells"
            / _file_name(self.entrant.text)
            / f"{self.concept.kind}-{_file_name(self.concept.name)}-s{self.seed}.json"
        )

    @property
    def about(self) -> dict[str, Any]:
        """What makes the cell: a file that says anything else is not its result."""
        return {
            "method": self.entrant.method.name,
            "entrant": self.entrant.text,
            "concepts": [self.concept.label],
            "seed": self.seed,
            "settings": json.loads(json.dumps(self.entrant.settings.model_dump(mode="json"))),
        }


def grid(methods: Sequence[str], concepts: Sequence[str], seeds: Sequence[int], catalog: Catalog) -> list[Cell]:
    """Every cell, concepts outermost, so that all methods are compared early; what is named twice is there once.

    concepts: names, or "objects", "styles", "members" for all of a kind. Raises ValueError for unknown names.
    """
    entrants = [Entrant.parse(text) for text in dict.fromkeys(methods)]
    wanted: dict[str, Concept] = {}
    for text in concepts:
        found = catalog.of_kind(SETS[text]) if text in SETS else (catalog.resolve(text),)
        wanted |= {concept.label: concept for concept in found}
    if not entrants or not wanted or not seeds:
        raise ValueError("a grid needs at least one method, one concept and one seed")
    cells = [
        Cell(entrant, concept, seed) for concept in wanted.values() for seed in dict.fromkeys(seeds) for entrant in entrants
    ]
    if len({cell.path(Path()) for cell in cells}) < len(cells):
        raise ValueError("two methods or concepts of the grid have names that differ only in signs that files cannot have")
    return cells


def bench(
    *,
    methods: Sequence[str],
    concepts: Sequence[str],
    out: str | Path,
    model: str | Path = "canvas",
    seeds: Sequence[int] = (0,),
    target_pictures: int = 200,
    other_pictures: int = 24,
    quality: bool = True,
    retry: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Run what is missing of a grid and write the tables of `out`; a failed cell says why and the rest goes on.

    quality also how much the kept concepts' pictures have changed (FID, KID, pixels)
    retry   also run the cells that failed before

    Returns every cell's content. Raises ValueError or FileNotFoundError for bad names before any weight is loaded, and ValueError if the
    cells in `out` are of another model or measured on other numbers of pictures.
    """
    if target_pictures < 1 or other_pictures < 1:
        raise ValueError("target_pictures and other_pictures must be at least 1")
    out = Path(out)
    described = describe(resolve(model))
    cells = grid(methods, concepts, seeds, described.catalog)
    if described.classifier is None:
        raise ValueError(f"the model {described.name!r} brings no classifier, so nothing can be measured")
    common = {"model": described.name, "target_pictures": target_pictures, "other_pictures": other_pictures, "quality": quality}
    _check_common(out, common)
    missing = [cell for cell in cells if not _done(cell, out, retry)]
    try:
        _fill(out, missing, model, common, device, progress)
    finally:
        if (out / "cells").is_dir():
            from excise.report.tables import write_tables

            write_tables(out)
    return [json.loads(cell.path(out).read_text(encoding="utf-8")) for cell in cells]


def _check_common(out: Path, common: Mapping[str, Any]) -> None:
    """Raise ValueError if the folder's cells cannot be compared with the ones to come; else say what they have in common."""
    path = out / GRID
    if not path.is_file():
        write_json(path, dict(common))
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{key} {before.get(key)!r}, now {value!r}" for key, value in common.items() if before.get(key) != value]
    if changed:
        raise ValueError(f"the cells in {out} cannot be compared with these: {'; '.join(changed)}; choose another folder")


def _check_base(out: Path, model: Model) -> None:
    """Raise ValueError if the folder's cells are of other weights by the same name; else say which weights they are of."""
    from excise.edits.applied import base_fingerprint

    common, found = json.loads((out / GRID).read_text(encoding="utf-8")), base_fingerprint(model)
    if common.setdefault("base", found) != found:
        raise ValueError(f"the cells in {out} are of other weights than {model.name!r} has now; choose another folder")
    write_json(out / GRID, common)


def _done(cell: Cell, out: Path, retry: bool) -> bool:
    """Whether the cell's file is there and was made as it would be made now."""
    path = cell.path(out)
    if not path.is_file():
        return False
    content = json.loads(path.read_text(encoding="utf-8"))
    return all(content.get(key) == value for key, value in cell.about.items()) and not (retry and "error" in content)


def _fill(
    out: Path, cells: Sequence[Cell], model: str | Path, common: Mapping[str, Any], device: str | None, progress: Progress
) -> None:
    """Run the cells in turn and write each when it is done."""
    from excise.models import load

    loaded: Model | None = None
    for index, cell in enumerate(cells):
        progress("cells", index, len(cells))
        if loaded is None:
            loaded = load(model, device=device)
            _check_base(out, loaded)
        result = _run(loaded, cell, common, progress)
        write_json(cell.path(out), result)
        if "error" in result:
            loaded = None  # whatever the failed run left behind must not reach the next cell
    progress("cells", len(cells), len(cells))


def _run(model: Model, cell: Cell, common: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Erase and measure; a failure becomes the cell's content."""
    from excise.evaluation import evaluate

    about = {**cell.about, "model": model.name}
    try:
        began = time.perf_counter()
        edit = cell.entrant.method.erase(model, (cell.concept,), cell.entrant.settings, Run(cell.seed, progress=progress))
        seconds = time.perf_counter() - began
        evaluation = evaluate(
            model,
            (cell.concept,),
            edit,
            seed=cell.seed,
            target_pictures=common["target_pictures"],
            other_pictures=common["other_pictures"],
            quality=common["quality"],
            progress=progress,
        )
    except Exception as error:
        return {**about, "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    facts = {"seconds": seconds, "edit_mb": edit.nbytes / 2**20, "base_fingerprint": edit.manifest.base, **_machine()}
    return {**about, **evaluation.to_dict(), **facts}


def _file_name(text: str) -> str:
    """A name for a file or folder that can be read; with a digest where letters had to be left out."""
    safe = re.sub(r"[^\w=.,+-]+", "_", text)
    plain = re.fullmatch(r"[\w=.,:+ -]+", text) and safe not in (".", "..") and not (" " in text and "_" in text)
    return safe if plain else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _machine() -> dict[str, Any]:
    import os
    import platform

    from excise.edits.manifest import versions

    return {"versions": versions(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
