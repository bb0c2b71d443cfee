"""What an edit is asked otherwise."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from excise.concepts import Concept
from excise.files import check_new_file
from excise.models.names import Description, describe, resolve
from excise.requests.drawn import Drawn
from excise.requests.edits import erased_concepts, read_manifests
from excise.requests.fields import (
    Flag,
    JsonFile,
    KindName,
    Overwrite,
    Pictures,
    Seed,
    UserPaths,
    on_disk,
)


class VaryRequest(Drawn):
    """Ask for an erased concept otherwise: in other words, guidance, steps, samplers, and from its pictures.

    Raises ValueError if there is no concept or several, or the model brings no classifier, FileExistsError if `json` is there.
    """

    edit: Annotated[UserPaths, Flag(positional=True, metavar="EDIT")] = Field(
        description="Folders of edits, measured together."
    )
    concept: str | None = Field(None, description="What was erased; default what the edits say, if that is one concept.")
    kind: KindName
    pictures: Pictures = Field(64, description="Pictures of each condition and model.")
    seed: Seed
    json_file: JsonFile
    overwrite: Overwrite

    @cached_property
    def described(self) -> Description:
        """The model, as far as its folder says without weights."""
        return describe(resolve(self.model))

    @cached_property
    def target(self) -> Concept:
        """What was erased. Raises ValueError if that is not one concept."""
        catalog = self.described.catalog
        if self.concept:
            return catalog.resolve(self.concept, self.kind)
        found = erased_concepts(read_manifests(self.edit), catalog)
        if len(found) != 1:
            raise ValueError(
                f"say which concept to ask for; the edits erase {', '.join(each.label for each in found) or 'none'}"
            )
        return found[0]

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (on_disk(self.json_file),)

    def check(self) -> None:
        super().check()
        check_new_file(on_disk(self.json_file), self.overwrite)
        read_manifests(self.edit)
        _ = self.target
        if self.described.classifier is None:
            raise ValueError(f"the model {self.described.name!r} brings no classifier, so nothing can be measured")
