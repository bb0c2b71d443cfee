"""What is measured of a model in nats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from excise.concepts import Catalog, Concept, Phrasings
from excise.files import check_new_file
from excise.information.budget import BUDGET
from excise.models.names import Description, describe, resolve
from excise.requests.drawn import Drawn
from excise.requests.edits import erased_concepts, read_manifests
from excise.requests.fields import (
    BaseName,
    EditFolders,
    Evaluations,
    Flag,
    JsonFile,
    KindName,
    Names,
    Overwrite,
    Seed,
    UserPath,
    on_disk,
)

NONE, BYSTANDERS = "none", "bystanders"
"""Stand for no other concept, and for all that the model knows beside its concepts."""


class MeasureRequest(Drawn):
    """Measure how much a concept's words still say about pictures, in nats, and what other concepts lost.

    Raises ValueError, FileNotFoundError or FileExistsError for bad input, before any weight is loaded where that can be known.
    """

    concepts: Annotated[Names, Flag(positional=True, metavar="CONCEPT")] = Field(
        (), description="What to measure; default what the edits erase."
    )
    edit: EditFolders
    against: Names | None = Field(
        None,
        description="Another concept to watch; 'bystanders': things that the model knows and no method is told of; or 'none'. Default every "
        "declared object and style, with --edit or --base.",
    )
    base: BaseName
    kind: KindName
    pictures: UserPath | None = Field(None, description="Folder of real pictures, CONCEPT/*.png; default the base makes them.")
    phrasings: Phrasings = Field("plain", description="Plain prompts, or all templates, synonyms and members.")
    budget: Evaluations = Field(BUDGET, description="Network evaluations: four times as many halve the intervals.")
    seed: Seed
    json_file: JsonFile
    figure: UserPath | None = Field(None, description="Write heat maps beside pictures (.png, .svg).")
    curves: UserPath | None = Field(None, description="Write nats by noise level (.png, .svg).")
    overwrite: Overwrite

    @cached_property
    def described(self) -> Description:
        """The model, or the base of one that was erased elsewhere, as far as its folder says without weights."""
        return describe(resolve(self.model if self.base is None else self.base))

    @property
    def catalog(self) -> Catalog:
        """The concepts that it declares."""
        return self.described.catalog

    @cached_property
    def targets(self) -> tuple[Concept, ...]:
        """What is measured. Raises ValueError if nothing says it."""
        named = tuple(self.catalog.resolve(text, self.kind) for text in self.concepts)
        found = named or erased_concepts(read_manifests(self.edit), self.catalog)
        if not found:
            raise ValueError("nothing to measure: name a concept, or give an edit")
        return found

    @cached_property
    def others(self) -> tuple[Concept, ...]:
        """The other concepts whose loss is measured."""
        if self.against is None:
            return declared_beside(self.targets, self.catalog) if self.edit or self.base is not None else ()
        if self.against == (NONE,):
            return ()
        return tuple(concept for text in self.against for concept in self._watched(text))

    def _watched(self, text: str) -> tuple[Concept, ...]:
        """The concepts that a name of `against` stands for. Raises ValueError if there are none."""
        if text != BYSTANDERS:
            return (self.catalog.resolve(text),)
        if not self.described.bystanders:
            raise ValueError(f"the model {self.described.name!r} lists no bystanders; name concepts to measure against")
        return tuple(bystander.concept for bystander in self.described.bystanders)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (on_disk(self.json_file), self.figure, self.curves)

    def check(self) -> None:
        super().check()
        for path in (on_disk(self.json_file), self.figure, self.curves):
            check_new_file(path, self.overwrite)
        for path in (self.figure, self.curves):
            check_figure(path)
        if self.edit and self.base is not None:
            raise ValueError("give edits, or a base for a model that was erased elsewhere, not both")
        resolve(self.model)
        read_manifests(self.edit)
        _ = self.targets, self.others


def declared_beside(targets: Sequence[Concept], catalog: Catalog) -> tuple[Concept, ...]:
    """Every object and style that a catalog declares, but the targets."""
    labels = {target.label for target in targets}
    declared = [*catalog.of_kind("object"), *catalog.of_kind("style")]
    return tuple(concept for concept in declared if concept.label not in labels)


def check_figure(path: Path | None) -> None:
    """Raise ValueError for the path of a figure that is neither PNG nor SVG."""
    if path is not None and path.suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"{path} should end in .png or .svg")
