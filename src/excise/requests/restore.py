"""What is asked for when erased concepts are given back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from excise.edits.manifest import EDIT, Manifest
from excise.files import check_replaceable
from excise.requests.fields import Flag, Names, Overwrite, UserPath
from excise.requests.request import Request


class RestoreRequest(Request):
    """Give erased concepts back: write the edit of the others, which does to them what it did, bit for bit.

    Numbers that were measured are left out: they were the whole edit's.

    Returns the edit that is left. Raises ValueError where the edit cannot be taken apart so, FileNotFoundError, or FileExistsError if `out`
    may not be replaced.
    """

    reports: ClassVar = False
    in_place: ClassVar = frozenset({"edit"})

    edit: Annotated[UserPath, Flag(positional=True, metavar="EDIT")] = Field(
        description="Folder of a separable edit, or of several edits put together."
    )
    concept: Names = Field(
        min_length=1,
        description="What is given back, as the edit names it (cat, style:sketch, ...); may be given several times.",
    )
    out: UserPath = Field(description="Folder for the edit of what stays erased.")
    overwrite: Overwrite

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        check_replaceable(self.out, EDIT, self.overwrite)
        Manifest.of(self.edit)
