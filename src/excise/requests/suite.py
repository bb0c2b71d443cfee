"""What a published protocol is asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from excise.evaluation.suites import Suite, get
from excise.evaluation.weights import check_names
from excise.models.drawing import AS_IT_DOES, Drawing
from excise.models.names import resolve
from excise.report import suite_table
from excise.requests.edits import read_manifests
from excise.requests.fields import (
    EditFolders,
    Flag,
    PathOrName,
    UserPath,
    UserPaths,
)
from excise.requests.on_model import OnModel
from excise.requests.request import Request
from excise.settings import Settings, parse_assignments

RESULT = "result.json"
"""The file that holds what was measured."""


class SuiteRequest(OnModel):
    """Make the pictures of base and edited model that a protocol asks for, and score them.

    Writes `out/result.json`. A run that was stopped makes only the pictures that are missing.

    Returns what the file holds. Raises ValueError, MissingWeightsError or FileNotFoundError for bad input before a picture is made,
    IncompleteSetError if pictures are missing in the end.
    """

    name: Annotated[str, Flag(positional=True, metavar="SUITE")] = Field(description="The suite; see: excise suite list.")
    out: UserPath = Field(description="Folder for pictures and result; the same command goes on with it.")
    edit: EditFolders
    settings: Annotated[dict[str, Any], Flag("--set", metavar="KEY=VALUE", read=parse_assignments)] = Field(
        {}, description="Setting of the suite."
    )
    weights: Annotated[dict[str, PathOrName], Flag(metavar="NAME=PATH", read=parse_assignments)] = Field(
        {}, description="Weights that it scores with."
    )
    base: UserPath | None = Field(None, description="The base model's answer set, if it is there already; default OUT/base.")
    pictures: UserPath | None = Field(
        None, description="Score this folder of pictures made elsewhere; --base may name the base model's."
    )
    allow_partial: bool = Field(False, description="Score an incomplete set; the result says so.")

    @cached_property
    def chosen(self) -> Suite:
        """The suite of that name."""
        return get(self.name)

    @cached_property
    def parsed(self) -> Settings:
        """The settings of the suite."""
        return self.chosen.parse(self.settings)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    @property
    def drawing(self) -> Drawing:
        """The model's own way: a suite's settings say how its pictures are made."""
        return AS_IT_DOES

    def check(self) -> None:
        super().check()
        check_names(self.weights)
        self.chosen.items(self.parsed)
        read_manifests(self.edit)
        if (self.out / RESULT).exists():
            try:
                suite_table.read(self.out / RESULT)
            except ValueError as error:
                raise FileExistsError(f"{error}; choose another folder") from None
        if self.pictures is None:
            resolve(self.model)
        elif self.edit:
            raise ValueError("give pictures that were made elsewhere, or an edit to make them with, not both")


class SuiteListRequest(Request):
    """List the suites, what each needs, and its settings."""


class SuiteTableRequest(Request):
    """Show results side by side; those that were not measured alike are marked."""

    results: Annotated[UserPaths, Flag(positional=True, metavar="RESULT")] = Field(
        min_length=1, description="result.json files, or the folders that hold them."
    )
