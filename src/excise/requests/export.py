"""What is asked for when edits are written as a LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from excise.files import check_new_file
from excise.models.dialects import Dialect
from excise.requests.edits import read_manifests
from excise.requests.fields import Count, Flag, Overwrite, Scale, UserPath, UserPaths
from excise.requests.request import Request


class ExportRequest(Request):
    """Write edits as a LoRA file, which diffusers and the common user interfaces load.

    The base model is not needed, and what loads the file will not check it: its name and fingerprint are in
    the metadata, key "excise".

    Returns what is in the file. Raises ValueError for an edit that such a file cannot hold (an adapter; changes of biases, norms or
    embeddings), edits of different bases, or wrong options; FileNotFoundError; FileExistsError if the file may not be replaced.
    """

    reports: ClassVar = False

    edit: Annotated[UserPaths, Flag(positional=True, metavar="EDIT")] = Field(
        min_length=1, description="Folders of edits of one base; they are added up."
    )
    to: UserPath = Field(description="The file to write, .safetensors.")
    rank: Count | None = Field(None, description="Largest rank; default as many as lose nothing but rounding.")
    dialect: Dialect | None = Field(
        None,
        description="Whose names of layers: kohya's, usual for U-Nets, or diffusers'; default what interfaces expect for the family.",
    )
    scale: Scale
    overwrite: Overwrite

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.to,)

    def check(self) -> None:
        if self.to.suffix != ".safetensors":
            raise ValueError(f"{self.to} must end in .safetensors")
        if self.scale == 0:
            raise ValueError("scale must not be 0: nothing would be left")
        check_new_file(self.to, self.overwrite)
        read_manifests(self.edit)
