"""What `excise upscale` says of the pictures that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from excise.figures import ResultRecord
from excise.files import check_path
from excise.results.origin import Provenance
from excise.results.result_file import ResultFile

MARKER = "upscale.json"
"""The file beside the pictures that says so."""


def _in_its_folder(name: str) -> str:
    if Path(name).name != name or "\\" in name:
        raise ValueError("a restored picture lies beside the file that lists it")
    check_path(name)
    return name


class UpscaledPicture(ResultRecord):
    """A restored picture.

    file          its own
    source        name of the file that it was made from, and sha256 of that
    width, height of it in pixels; low_width, low_height: of what it was made from
    """

    file: Annotated[str, AfterValidator(_in_its_folder)]
    source: str
    sha256: str
    low_width: int
    low_height: int
    width: int
    height: int


class UpscaleSettings(ResultRecord):
    """How pictures were restored; tile and overlap in pixels.

    restorer SHA-256 of its file
    """

    restorer: str
    scale: int
    steps: int
    scheduler: str
    fidelity: float
    colour: Literal["wavelet", "adain", "none"]
    tile: int
    overlap: int


class UpscaleFile(ResultFile):
    """What `upscale.json` holds.

    seconds of restoring, stretches before a resume included
    written the other files of the folder, by their names in it
    """

    WHAT: ClassVar[str] = "the upscale.json of excise upscale"

    kind: Literal["upscale"] = "upscale"
    settings: UpscaleSettings
    provenance: Provenance
    pictures: tuple[UpscaledPicture, ...]
    seconds: float
    written: tuple[str, ...] = ()
