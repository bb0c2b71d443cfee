"""What is asked for when pictures are upscaled."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import Field

from excise import bounds
from excise.erasure.checkpoints import Workplace
from excise.files import FolderKind, fitting, real_path
from excise.files.pictures import open_picture
from excise.models.drawing import Drawing
from excise.models.families import check_offers
from excise.models.names import check_scheduler, resolve
from excise.requests.audit import file_name
from excise.requests.edits import read_manifests
from excise.requests.fields import EditFolders, Flag, Overwrite, Scheduler, Seed, Steps, UserPath, UserPaths
from excise.requests.on_model import OnModel
from excise.requests.restorers import pick_restorer
from excise.restoration.options import COLOUR, FIDELITY, Colour
from excise.results.upscaled import MARKER, UpscaleFile

UPSCALED = FolderKind(MARKER, UpscaleFile.read, earlier="")
"""Restored pictures."""


class UpscaleRequest(OnModel):
    """Make pictures larger and sharper: a diffusion model restores what small, blurred or noisy pictures have lost (StableSR's idea).

    Writes a PNG for every picture, called as the picture is, and upscale.json. The model needs a restorer, which was trained for it; for the
    built-in one it is part of the package. Pictures larger than the model's are restored tile by tile, without seams. What is restored is
    invented in keeping with the picture: it is no evidence of what was there. A run that was stopped goes on with `resume`, picture by
    picture: on the CPU, with as many threads, to the same bits.

    Returns what upscale.json holds. Raises ValueError for a file that is no picture, a picture that would become too large, tiles that cannot
    be, a model without a U-Net, a restorer or an edit of another model; FileNotFoundError; FileExistsError; FloatingPointError if a picture
    is not finite.
    """

    images: Annotated[UserPaths, Flag(positional=True, metavar="IMAGE")] = Field(
        min_length=1, description="Pictures to restore: PNG, JPEG or WebP files."
    )
    out: UserPath = Field(description="Folder for the restored pictures.")
    edit: EditFolders
    restorer: UserPath | None = Field(
        None, description="File of a restorer that was trained for the model; default the built-in one, which is the canvas's."
    )
    scale: int = Field(
        4,
        ge=1,
        le=bounds.MAGNIFICATION,
        description="How many times as large the picture becomes; restorers are trained for 4.",
    )
    steps: Steps
    scheduler: Scheduler
    fidelity: float = Field(
        FIDELITY,
        ge=0,
        le=1,
        description="How closely details follow the picture: 0 what the model makes of it, 1 most closely.",
    )
    colour: Colour = Field(
        COLOUR, description="How the picture's colours are given back: wavelet (coarse structures), adain (means), none."
    )
    tile: int | None = Field(
        None, ge=8, le=bounds.EDGE, description="Edge of a tile in pixels of the result; default that of the model's pictures."
    )
    overlap: int | None = Field(
        None, ge=0, le=bounds.EDGE, description="Pixels that neighbouring tiles share; default half a tile."
    )
    seed: Seed
    resume: bool = Field(False, description="Go on with the run that was stopped.")
    overwrite: Overwrite

    @property
    def drawing(self) -> Drawing:
        """How the model's sampler runs."""
        return Drawing(steps=self.steps, scheduler=self.scheduler)

    @cached_property
    def restorer_file(self) -> Path:
        """The restorer; see `pick_restorer`."""
        return pick_restorer(self.model, self.restorer)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The files of the restored pictures, in the order of `images`: each is called as its picture, with a number where two would be."""
        found: list[str] = []
        taken, numbers = set[str](), Counter[str]()
        for image in self.images:
            stem = name = fitting(file_name(image.stem).lstrip(".") or "picture")
            while name.casefold() in taken:
                numbers[stem] += 1
                name = f"{stem}-{numbers[stem] + 1}"
            taken.add(name.casefold())
            found.append(f"{name}.png")
        return tuple(found)

    @property
    def workplace(self) -> Workplace:
        """Where the run keeps what it has done."""
        return Workplace(self.out, UPSCALED)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        super().check()
        check_offers(resolve(self.model), "upscaling", ("U-Net",))
        check_scheduler(resolve(self.model), self.scheduler)
        if self.tile is not None and self.overlap is not None and self.overlap >= self.tile:
            raise ValueError(f"overlap={self.overlap} must be below the tile's edge, {self.tile} pixels")
        read_manifests(self.edit)
        _ = self.restorer_file
        self.workplace.check(resume=self.resume, overwrite=self.overwrite)
        for image in self.images:
            if real_path(image).is_relative_to(real_path(self.out)):
                raise ValueError(f"{image} lies in out={self.out}, the folder that is written; choose another path")
            check_size(image, open_picture(image), self.scale)


def check_size(file: Path, picture: Image.Image, scale: int) -> None:
    """Raise ValueError for a picture that would become larger than `bounds` allow."""
    width, height = (edge * scale for edge in picture.size)
    if width * height > bounds.RESTORED or max(width, height) > bounds.RESTORED_EDGE:
        raise ValueError(
            f"{file} would have {width} x {height} pixels, more than {bounds.RESTORED} or an edge above {bounds.RESTORED_EDGE}; take a "
            "smaller scale, or cut it"
        )
