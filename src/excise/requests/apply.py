"""What is asked for when edits are written into a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from excise.files import check_replaceable
from excise.models.names import resolve
from excise.requests.edits import read_manifests
from excise.requests.fields import Device, Dtype, Flag, ModelName, Overwrite, Scale, UserPath, UserPaths
from excise.requests.request import Request

MARKER = "excise_edits.json"
"""The file that makes a folder a model with edits in it: their manifests."""


class ApplyRequest(Request):
    """Write a full diffusers folder: the base model with edits in it.

    Plain diffusers loads the folder. `dtype` is that of the networks that the edits change; every other file of a base folder is copied as
    it is.

    Returns the folder. Raises ValueError for an edit of another base or one that weights cannot hold (an adapter), or a folder inside the
    base's, FileNotFoundError, or FileExistsError if `to` is there and may not be replaced.
    """

    reports: ClassVar = False

    edit: Annotated[UserPaths, Flag(positional=True, metavar="EDIT")] = Field(
        min_length=1, description="Folders of the edits to put on, in order."
    )
    to: UserPath = Field(description="Folder for the edited model.")
    model: ModelName
    scale: Scale
    overwrite: Overwrite
    device: Device
    dtype: Dtype

    def check(self) -> None:
        base = resolve(self.model)
        if isinstance(base, Path) and self.to.resolve().is_relative_to(base.resolve()):
            raise ValueError(f"{self.to} lies in the folder of the base model, which is never changed; choose another path")
        check_replaceable(self.to, MARKER, self.overwrite)
        read_manifests(self.edit)
