"""What a folder holds that can be reported: benchmarks, erasures, audits, measurements, variations, suites. From files alone, no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.files import read_json
from excise.report import audit_table as audits
from excise.report import collateral_table, information_table, method_table, result_table, suite_table, variation_table

FILES = {"cells": "excise bench", "audit.json": "excise audit", "edit.json": "excise erase", "*.json": "excise measure --json"}
"""What is looked for, and what writes it."""


@dataclass(frozen=True)
class Bench:
    """A folder of `excise bench`: what its cells have in common, and every cell with the path of its picture (None if there is none)."""

    path: Path
    common: dict[str, Any]
    cells: list[dict[str, Any]]
    pictures: list[Path | None]


@dataclass(frozen=True)
class Erasure:
    """A folder of `excise erase`, or numbers of `excise evaluate --json`.

    result    what was measured; empty if the folder has no `result.json`
    manifest  what `edit.json` holds; empty for numbers alone
    picture   before and after, if it is there
    """

    path: Path
    result: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)
    picture: Path | None = None

    @property
    def concepts(self) -> list[str]:
        """Labels of what was erased."""
        named = [f"{concept['kind']}:{concept['name']}" for concept in self.manifest.get("concepts", [])]
        return named or list(self.result.get("concepts") or self.result.get("per_target") or [])


@dataclass(frozen=True)
class Audit:
    """A folder of `excise audit`; pictures by the attack's text."""

    path: Path
    found: dict[str, Any]
    pictures: dict[str, Path]


@dataclass(frozen=True)
class FolderContents:
    """Everything that a folder holds, in the order of its paths; measurements, variations and suites by path."""

    root: Path
    benches: list[Bench] = field(default_factory=list)
    erasures: list[Erasure] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)
    measurements: dict[Path, dict[str, Any]] = field(default_factory=dict)
    variations: dict[Path, dict[str, Any]] = field(default_factory=dict)
    suites: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.benches, self.erasures, self.audits, self.measurements, self.variations, self.suites))


def read(root: Path) -> FolderContents:
    """Everything in a folder and below it; hidden folders, models and links to folders are left out.

    Raises FileNotFoundError or NotADirectoryError for a bad folder; ValueError if it holds nothing to report, or a damaged file, by name.
    """
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; give the folder that holds the results")
    found = FolderContents(root)
    for place, folders, files in os.walk(root):
        if "model_index.json" in files:
            folders.clear()
            continue
        here = Path(place)
        _read_folder(here, set(files), set(folders), found)
        own = {"attacks"} if "audit.json" in files else set()  # read above, or pictures alone
        own |= {"cells", "pictures", "base"} if "cells" in folders else set()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in own)
    if not found:
        expected = ", ".join(f"{name} ({writer})" for name, writer in FILES.items())
        raise ValueError(f"nothing to report in {root}: expected {expected}, in it or below it")
    return found


def _read_folder(here: Path, files: set[str], folders: set[str], found: FolderContents) -> None:
    if "cells" in folders:
        _read_cells(here, "bench.json" in files, found)
    if "audit.json" in files:
        found.audits.append(_audit(here))
    if "edit.json" in files:
        found.erasures.append(_erasure(here, files))
    known = {"bench.json", "audit.json"} | ({"edit.json", "result.json"} if "edit.json" in files else set())
    for name in sorted(name for name in files - known if name.endswith(".json") and not name.startswith(".")):
        _read_numbers(here / name, found)


def _read_numbers(path: Path, found: FolderContents) -> None:
    """A file of numbers goes where what it holds belongs; other JSON is nobody's and left out."""
    content = read_json(path, object)
    if not isinstance(content, dict):
        return
    with _whole(path):
        if content.get("unit") == "nats per picture":
            information_table.table(content), information_table.lines(content)
            found.measurements[path] = content
        elif "conditions" in content and "concept" in content:
            variation_table.table(content), variation_table.lines(content)
            found.variations[path] = content
        elif "metrics" in content and "protocol" in content:
            suite_table.table(suite_table.rows_of([content]))
            found.suites[path] = content
        elif "ua" in content and ("per_target" in content or "concepts" in content):
            _try_result(content)
            found.erasures.append(Erasure(path, content))


def _read_cells(here: Path, described: bool, found: FolderContents) -> None:
    """A benchmark, or the results of its suite."""
    cells = {path: read_json(path, object) for path in sorted((here / "cells").glob("*/*.json"))}
    if any(isinstance(cell, dict) and "suite" in cell for cell in cells.values()):
        for path, cell in cells.items():
            with _whole(path):
                if "error" not in cell:
                    suite_table.table(suite_table.rows_of([cell["suite"]]))
                    found.suites[path] = cell["suite"]
    elif cells:
        found.benches.append(_bench(here, described, cells))


def _bench(here: Path, described: bool, read: Mapping[Path, Any]) -> Bench:
    cells = []
    for path, cell in read.items():
        with _whole(path):
            method_table.check(cell)
            collateral_table.matrix([cell], cell["entrant"])
        cells.append(cell)
    pictures = [None if "error" in cell else _beside(path) for cell, path in zip(cells, read, strict=True)]
    common = read_json(here / "bench.json") if described else {}
    return Bench(here, common, method_table.beside_retrained(cells), pictures)


def _erasure(here: Path, files: set[str]) -> Erasure:
    manifest = read_json(here / "edit.json")
    result = read_json(here / "result.json") if "result.json" in files else dict(manifest.get("measurements") or {})
    picture = here / "before_after.png"
    erasure = Erasure(here, result, manifest, picture if picture.is_file() else None)
    with _whole(here / ("result.json" if "result.json" in files else "edit.json")):
        _try_result(result)
        erasure.concepts, manifest["method"], manifest["model"]
    return erasure


def _try_result(result: dict[str, Any]) -> None:
    result_table.table(result), result_table.quality_table(result)
    if result.get("information"):
        information_table.table(result["information"]), information_table.lines(result["information"])


def _audit(here: Path) -> Audit:
    found = read_json(here / "audit.json")
    pictures = {}
    for path in sorted((here / "attacks").glob("*.json")):
        attack = read_json(path)
        with _whole(path):
            picture = _beside(path)
            if picture:
                pictures[str(attack["text"])] = picture
    with _whole(here / "audit.json"):
        audits.table(found), audits.lines(found)
    return Audit(here, found, pictures)


def _beside(path: Path) -> Path | None:
    picture = path.with_suffix(".png")
    return picture if picture.is_file() else None


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turn what goes wrong with JSON of another shape into one line that names the file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, ZeroDivisionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path} is damaged or of another version ({what}); write it again, or take it out of the folder"
        ) from None
