"""What a folder holds that can be reported: benchmarks, queues, erasures, audits, measurements, variations, suites, students, restored
pictures. From files alone, no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from excise.edits.manifest import Manifest
from excise.files import read_json
from excise.report import method_table
from excise.results import earlier
from excise.results.audit_result import AttackResult, AuditFile
from excise.results.cell import Cell, Grid
from excise.results.cells import FOLDER, holds_cells, stored_cells
from excise.results.erasure import ErasureResult
from excise.results.information import Measurement
from excise.results.removal_ledger import RemovalLedger
from excise.results.result_file import ResultFile, check_format
from excise.results.student import MARKER, StudentFile
from excise.results.suite_result import SuiteResult
from excise.results.upscaled import MARKER as UPSCALED
from excise.results.upscaled import UpscaleFile
from excise.results.variation import Variation

FILES = {
    FOLDER: "excise bench",
    "queue.json": "excise queue run",
    "audit.json": "excise audit",
    "edit.json": "excise erase",
    UPSCALED: "excise upscale",
    "*.json": "excise measure --json",
}
"""What is looked for, and what writes it."""

NUMBERS: dict[str, type[ResultFile]] = {
    "information": Measurement,
    "variation": Variation,
    "suite": SuiteResult,
    "erasure": ErasureResult,
}
"""Files of numbers that may have any name, by the kind that they say they are."""


@dataclass(frozen=True)
class BenchFolder:
    """A folder of `excise bench`: what its cells have in common, and every cell with the path of its picture (None if there is none)."""

    path: Path
    grid: Grid | None
    cells: list[Cell]
    pictures: list[Path | None]


@dataclass(frozen=True)
class ErasureFolder:
    """A folder of `excise erase`, or numbers of `excise evaluate --json`.

    result    what was measured; None if nothing was
    manifest  what `edit.json` holds; None for numbers alone
    picture   before and after, if it is there
    """

    path: Path
    result: ErasureResult | None
    manifest: Manifest | None = None
    picture: Path | None = None

    @property
    def concepts(self) -> list[str]:
        """Labels of what was erased."""
        return self.manifest.names if self.manifest else list(self.result.concepts) if self.result else []


@dataclass(frozen=True)
class AuditFolder:
    """A folder of `excise audit`; pictures by the attack's text."""

    path: Path
    found: AuditFile
    pictures: dict[str, Path]


@dataclass(frozen=True)
class FolderContents:
    """Everything that a folder holds, in the order of its paths; queues, measurements, variations, suites, students and restored pictures by
    path."""

    root: Path
    benches: list[BenchFolder] = field(default_factory=list)
    queues: dict[Path, RemovalLedger] = field(default_factory=dict)
    erasures: list[ErasureFolder] = field(default_factory=list)
    audits: list[AuditFolder] = field(default_factory=list)
    measurements: dict[Path, Measurement] = field(default_factory=dict)
    variations: dict[Path, Variation] = field(default_factory=dict)
    suites: dict[Path, SuiteResult] = field(default_factory=dict)
    students: dict[Path, StudentFile] = field(default_factory=dict)
    upscaled: dict[Path, UpscaleFile] = field(default_factory=dict)

    def __bool__(self) -> bool:
        found = (
            self.benches,
            self.queues,
            self.erasures,
            self.audits,
            self.measurements,
            self.variations,
            self.suites,
            self.students,
            self.upscaled,
        )
        return any(found)


def read(root: Path) -> FolderContents:
    """Everything in a folder and below it; hidden folders, models but for what a student's marker says, and links to folders are left out.

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
            if MARKER in files:
                found.students[Path(place)] = StudentFile.read(Path(place) / MARKER)
            continue
        here = Path(place)
        _read_folder(here, set(files), found)
        own = {"attacks"} if "audit.json" in files else set()  # read above, or pictures alone
        own |= {FOLDER, "pictures", "base"} if holds_cells(here) else set()
        own |= {"steps", "edit"} if "queue.json" in files else set()  # whose numbers are in the ledger
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in own)
    if not found:
        expected = ", ".join(f"{name} ({writer})" for name, writer in FILES.items())
        raise ValueError(f"nothing to report in {root}: expected {expected}, in it or below it")
    return found


def _read_folder(here: Path, files: set[str], found: FolderContents) -> None:
    if holds_cells(here):
        _read_cells(here, "bench.json" in files, found)
    if "queue.json" in files:
        found.queues[here] = RemovalLedger.read(here / "queue.json")
    if "audit.json" in files:
        found.audits.append(_audit(here))
    if "edit.json" in files:
        found.erasures.append(_erasure(here, files))
    if UPSCALED in files:
        found.upscaled[here] = UpscaleFile.read(here / UPSCALED)
    known = {"bench.json", "audit.json", "queue.json", UPSCALED} | (
        {"edit.json", "result.json"} if "edit.json" in files else set()
    )
    for name in sorted(name for name in files - known if name.endswith(".json") and not name.startswith(".")):
        _read_numbers(here / name, found)


def _read_numbers(path: Path, found: FolderContents) -> None:
    """A file of numbers goes where what it holds belongs; other JSON is nobody's and left out."""
    content = read_json(path, object)
    if not isinstance(content, dict):
        return
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in NUMBERS:
        if earlier.kind(content) in NUMBERS:
            check_format(content, path)
        return
    record = NUMBERS[kind].parse(content, path)
    if isinstance(record, Measurement):
        found.measurements[path] = record
    elif isinstance(record, Variation):
        found.variations[path] = record
    elif isinstance(record, SuiteResult):
        found.suites[path] = record
    elif isinstance(record, ErasureResult):
        found.erasures.append(ErasureFolder(path, record))


def _read_cells(here: Path, described: bool, found: FolderContents) -> None:
    """A benchmark, or the results of its suite."""
    cells = stored_cells(here)
    if any(cell.suite for cell in cells.values()):
        found.suites.update({path: cell.suite for path, cell in cells.items() if cell.suite})
    elif cells:
        pictures = [None if cell.error else _beside(path) for path, cell in cells.items()]
        grid = Grid.read(here / "bench.json") if described else None
        found.benches.append(BenchFolder(here, grid, method_table.beside_retrained(cells.values()), pictures))


def _erasure(here: Path, files: set[str]) -> ErasureFolder:
    manifest = Manifest.read(here / "edit.json")
    result = ErasureResult.read(here / "result.json") if "result.json" in files else manifest.result(here / "edit.json")
    picture = here / "before_after.png"
    return ErasureFolder(here, result, manifest, picture if picture.is_file() else None)


def _audit(here: Path) -> AuditFolder:
    attacks = {path: AttackResult.read(path) for path in sorted((here / "attacks").glob("*.json"))}
    pictures = {attack.text: picture for path, attack in attacks.items() if (picture := _beside(path))}
    return AuditFolder(here, AuditFile.read(here / "audit.json"), pictures)


def _beside(path: Path) -> Path | None:
    picture = path.with_suffix(".png")
    return picture if picture.is_file() else None
