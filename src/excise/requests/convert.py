"""What is asked for when result files of earlier versions are rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from excise.requests.fields import Flag, UserPaths
from excise.requests.request import Request


class ConvertRequest(Request):
    """Rewrite result files of earlier versions in place, in the form that this version reads; no number changes.

    Files of today's form and files of somebody else are left as they are, and so are hidden folders, models and links to folders. Every
    file is read before the first one is written, and each is written all or nothing. A benchmark that is packed is read and gone on with
    as before; its cells are deleted when the packed file is there and was read back.

    Returns how many files of each kind there were. Raises FileNotFoundError for a path that is not there, ValueError, naming the file, for
    one that is damaged: then nothing was changed.
    """

    reports: ClassVar = False

    paths: Annotated[UserPaths, Flag(positional=True, metavar="PATH")] = Field(
        min_length=1, description="Result files, or folders: everything below them."
    )

    pack: bool = Field(False, description="Also put the cells of every benchmark into one file: cells.jsonl.gz.")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return self.paths

    def check(self) -> None:
        for path in self.paths:
            if not path.exists():
                raise FileNotFoundError(f"no such file or folder: {path}")
