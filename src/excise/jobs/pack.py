"""Grids of results that grow no more: the cells of each in one file. `excise bench` and all readers go on from it as from the files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from excise.files import check_ours, real_path, writing
from excise.requests.bench import BENCH
from excise.results.cell import Grid
from excise.results.cells import FOLDER, PACKED, is_grid, pack_cells


def pack(folders: Sequence[Path]) -> int:
    """Pack the cells of every grid in these folders and below them; returns how many files of cells there were.

    Raises FileExistsError if somebody writes to a grid, ValueError for one that cannot be packed: it and those after it stay as they are.
    """
    held = set(map(real_path, folders))
    below = {real_path(grid): grid for folder in folders if folder.is_dir() for grid, _ in folders_of_results(folder)}
    return sum(_pack(grid, locked=real in held) for real, grid in below.items() if (grid / FOLDER).is_dir())


def _pack(grid: Path, *, locked: bool) -> int:
    with nullcontext() if locked else writing(grid):
        if not is_grid(grid):
            return 0
        marker = grid / BENCH.marker
        written = Grid.read(marker).written if marker.is_file() else None
        if written is not None and PACKED not in written:
            check_ours(grid, BENCH, (PACKED,))
            Grid.read(marker).model_copy(update={"written": tuple(sorted((*written, PACKED)))}).write(marker)
        return pack_cells(grid)


def folders_of_results(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all below it, each with the names of its files; hidden ones, models and links to folders are left out."""
    for place, folders, files in os.walk(top):
        if "model_index.json" in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in files if not name.startswith("."))
