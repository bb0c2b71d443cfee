"""What is asked for when edits are written into a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from excise.files import FolderKind, check_new_file, check_replaceable, read_json, real_path
from excise.models.contents import model_files
from excise.models.families import check_described, check_original
from excise.models.names import MODEL_FILES, resolve
from excise.requests.edits import read_manifests
from excise.requests.fields import ConfigFrom, Device, Dtype, Flag, ModelName, Overwrite, Scale, UserPath, UserPaths
from excise.requests.request import Request
from excise.requests.students import check_whole_model


def _check(path: Path) -> None:
    if not {"scale", "edits"} <= read_json(path).keys():
        raise ValueError(f"{path} does not list the edits in a model")


APPLIED = FolderKind(
    "excise_edits.json",
    _check,
    earlier=MODEL_FILES,
)
"""A model with edits in it: the marker holds their manifests."""


class ApplyRequest(Request):
    """Write a full diffusers folder, or one checkpoint file: the base model with edits in it.

    Plain diffusers loads the folder. A file (.safetensors) has the original layout, which user interfaces load: of Stable Diffusion 1.x,
    2.x and XL. `dtype` is that of the networks that the edits change; the other files of a base folder's
    components, its README and its licence are copied as they are, links as the files that they lead to.

    Returns the folder or the file. Raises ValueError for an edit of another base or one that weights cannot hold (an adapter), a folder
    inside the base's, a link that leads out of the base's, or a family without such a file; FileNotFoundError; FileExistsError if `to` is
    there and may not be replaced.
    """

    reports: ClassVar = False

    edit: Annotated[UserPaths, Flag(positional=True, metavar="EDIT")] = Field(
        min_length=1, description="Folders of the edits to put on, in order."
    )
    to: UserPath = Field(description="Folder for the edited model, or a .safetensors file.")
    model: ModelName
    config_from: ConfigFrom
    scale: Scale
    overwrite: Overwrite
    device: Device
    dtype: Dtype

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.to,)

    @property
    def one_file(self) -> bool:
        """Whether all goes into one file."""
        return self.to.suffix == ".safetensors"

    def check(self) -> None:
        base = resolve(self.model)
        check_described(self.model, self.config_from)
        read = [real_path(folder) for folder in (base, self.config_from) if isinstance(folder, Path)]
        if any(real_path(self.to).is_relative_to(folder) for folder in read):
            raise ValueError(f"{self.to} lies in the folder of the base model, which is never changed; choose another path")
        if self.one_file:
            check_original(self.model)
            check_whole_model(base)
            check_new_file(self.to, self.overwrite)
        else:
            check_replaceable(self.to, APPLIED, self.overwrite)
        if isinstance(base, Path) and base.is_dir():
            model_files(base)
        read_manifests(self.edit)
