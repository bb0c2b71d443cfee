"""What is asked of two models, one of which was made from the other."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from excise.concepts import Concept
from excise.edits.manifest import EDIT
from excise.files import check_replaceable
from excise.models.names import describe, resolve
from excise.requests.fields import Device, Dtype, Flag, KindName, Names, Overwrite, PathOrName, UserPath
from excise.requests.request import Request


class DiffRequest(Request):
    """Import a model that was erased elsewhere as an edit of its base.

    The edit is the difference of the weights that both models have in `dtype`. It is applied, measured and removed like any other.

    Returns the edit. Raises ValueError if one model is not a form of the other or nothing differs, or for an unknown dtype or device,
    FileExistsError if `out` is there.
    """

    base: Annotated[PathOrName, Flag(positional=True)] = Field(description="The model that the erased one was made from.")
    erased: Annotated[PathOrName, Flag(positional=True)] = Field(
        description="The erased model, or a .safetensors file with some of its U-Net's tensors."
    )
    out: UserPath = Field(description="Folder for the edit.")
    concept: Names = Field((), description="What was erased, if it is known.")
    kind: KindName
    overwrite: Overwrite
    device: Device
    dtype: Dtype

    @cached_property
    def targets(self) -> tuple[Concept, ...]:
        """What was erased, for the manifest."""
        catalog = describe(resolve(self.base)).catalog
        return tuple(catalog.resolve(text, self.kind) for text in self.concept)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        check_replaceable(self.out, EDIT, self.overwrite)
        resolve(self.erased)
        _ = self.targets
