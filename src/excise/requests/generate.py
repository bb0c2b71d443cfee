"""What pictures are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from excise import bounds
from excise.files import PICTURE_ENDINGS, FolderKind, check_new_file, check_replaceable, read_json
from excise.requests.drawn import Drawn
from excise.requests.edits import read_manifests
from excise.requests.fields import (
    EditFolders,
    Flag,
    Names,
    Overwrite,
    Pictures,
    Scale,
    Seed,
    UserPath,
)


def _check(path: Path) -> None:
    if not {"pictures", "edits"} <= read_json(path).keys():
        raise ValueError(f"{path} does not list generated pictures")


PICTURES = FolderKind("pictures.json", _check, earlier=r"\d{4,}-[a-z0-9-]+-seed\d+\.png")
"""Generated pictures."""


class GenerateRequest(Drawn):
    """Make pictures with a model, with or without edits.

    Returns the files. A picture file gets a row for every prompt; a folder gets a file for every picture, and pictures.json.

    Raises ValueError for an empty prompt, a number out of range or a scale without an edit, FileNotFoundError for a model or an edit that is
    not there, FileExistsError if `out` is there and may not be replaced.
    """

    prompts: Annotated[Names, Flag(positional=True, metavar="PROMPT")] = Field(
        min_length=1, description="What the pictures should show."
    )
    out: UserPath = Field(description="A .png file (a grid, a row per prompt) or a folder (a file each).")
    edit: EditFolders
    scale: Scale
    n: Annotated[Pictures, Flag("-n", short="--n")] = Field(1, description="Pictures per prompt.")
    seed: Seed = Field(description="Seed of each prompt's first picture; the next ones count up.")
    overwrite: Overwrite

    @property
    def one_file(self) -> bool:
        """Whether all pictures go into one file."""
        return self.out.suffix.lower() in PICTURE_ENDINGS

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        super().check()
        for number, prompt in enumerate(self.prompts, 1):
            if not prompt.strip():
                raise ValueError(f"prompt {number} is empty")
        if len(self.prompts) * self.n > bounds.PICTURES:
            raise ValueError(
                f"{len(self.prompts)} prompts with {self.n} pictures each are more than {bounds.PICTURES} pictures"
            )
        if self.one_file:
            check_new_file(self.out, self.overwrite)
        else:
            check_replaceable(self.out, PICTURES, self.overwrite)
        read_manifests(self.edit)
        if self.scale != 1 and not self.edit:
            raise ValueError(
                f"scale={self.scale} is the strength of edits, and none is given; give an edit, or leave scale out"
            )
