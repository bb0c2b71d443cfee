"""What a report is asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from excise.report.folder_reader import FolderContents, read
from excise.report.page import NAME, check_page
from excise.requests.fields import Flag, UserPath
from excise.requests.request import Request


class ReportRequest(Request):
    """Build one self-contained page from a folder's files: tables, pictures, figures, settings.

    What the folder holds, in it or below it, was written by `bench`, `erase`, `audit` or `measure` (json). Figures as PNG and SVG go to
    `report-figures` beside the page. An earlier page is replaced, nothing else is.

    Returns the page's path. Raises FileNotFoundError or NotADirectoryError for a bad folder, ValueError if there is nothing to report or a
    file is damaged (by name), FileExistsError if `out` is there and is no report.
    """

    reports: ClassVar = False

    folder: Annotated[UserPath, Flag(positional=True, metavar="DIR")] = Field(
        description="Folder of a bench, erasure, audit or measurement, or of several."
    )
    out: UserPath | None = Field(None, description="The page; default report.html in the folder.")

    @cached_property
    def contents(self) -> FolderContents:
        """What the folder holds."""
        return read(self.folder)

    @property
    def page(self) -> Path:
        """The page that is written."""
        return self.folder / NAME if self.out is None else self.out

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.page,)

    def check(self) -> None:
        check_page(self.page)
        _ = self.contents
