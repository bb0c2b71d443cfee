"""The report page of a folder of results."""

from __future__ import annotations

from pathlib import Path

from excise.report.page import build


def report(folder: str | Path, *, out: str | Path | None = None) -> Path:
    """Write one self-contained page from what a folder holds, in it or below it; returns the page's path.

    folder  written by `bench`, `erase`, `audit` or `measure` (json), or a folder of such
    out     default `report.html` in the folder; figures as PNG and SVG go to `report-figures` beside it. An earlier page is replaced,
            nothing else is.

    Raises FileNotFoundError or NotADirectoryError for a bad folder, ValueError if there is nothing to report or a file is damaged (by
    name), FileExistsError if `out` is there and is no report.
    """
    return build(Path(folder), None if out is None else Path(out))
