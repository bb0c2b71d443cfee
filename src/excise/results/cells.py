"""Where the cells of a grid lie: each in a file of its own, `cells/METHOD/NAME.json`, or packed, all in `cells.jsonl.gz`.

A grid that is made writes files of their own, whatever is packed beside them.
"""

from __future__ import annotations

from pathlib import Path

from excise.files import JsonFile, pack, packed_path, read_files
from excise.results.cell import Cell

FOLDER = "cells"
PATTERN = "*/*.json"
PACKED = packed_path(Path(FOLDER)).name


def cell_path(out: Path, method: str, name: str) -> Path:
    """The file that a cell of a grid has when it is made; its path is the cell's name wherever it lies later."""
    return out / FOLDER / method / f"{name}.json"


def holds_cells(folder: Path) -> bool:
    """Whether a folder is one of cells, though there may be none yet."""
    return (folder / FOLDER).is_dir() or (folder / PACKED).is_file()


def read_contents(out: Path) -> dict[Path, JsonFile]:
    """What the files of cells hold, by their paths and in the order of these. Raises ValueError, by name, for a damaged one."""
    return read_files(out / FOLDER, PATTERN)


def stored_cells(out: Path) -> dict[Path, Cell]:
    """The cells of `excise bench`, as `read_contents` has them."""
    return {path: Cell.parse(file.content, file.path, file.line) for path, file in read_contents(out).items()}


def is_grid(out: Path) -> bool:
    """Whether there are cells of `excise bench`, and not another program's. Raises ValueError, by name, if one is damaged or something else."""
    return any(file.content.get("kind") == "cell" for file in read_contents(out).values()) and bool(stored_cells(out))


def pack_cells(out: Path) -> int:
    """Put all cells of a grid into `cells.jsonl.gz`, as `excise.files.pack`; returns how many files there were."""
    return pack(out / FOLDER, PATTERN)
