"""What is measured on the pictures of a model."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field

from excise.concepts import Concept
from excise.evaluation.picture_counts import OTHER_PICTURES, TARGET_PICTURES
from excise.evaluation.weights import Features
from excise.files import check_new_file
from excise.models.names import Description, describe, resolve
from excise.requests.drawn import Drawn
from excise.requests.edits import erased_concepts, read_manifests
from excise.requests.fields import (
    EditFolders,
    JsonFile,
    KindName,
    Names,
    Overwrite,
    Pictures,
    Seed,
    UserPath,
)


class EvaluateRequest(Drawn):
    """Measure a model: UA, IRA, CRA and the neutral rate, base beside edited.

    Raises ValueError if there is no concept or the model brings no classifier, FileExistsError if `json` is there, FileNotFoundError for
    weights or pictures that are not.
    """

    edit: EditFolders
    concept: Names = Field((), description="What was erased; default what the edits say.")
    kind: KindName
    seed: Seed
    target_pictures: Pictures = Field(TARGET_PICTURES, description="Pictures of each erased concept.")
    other_pictures: Pictures = Field(OTHER_PICTURES, description="Pictures of each other concept.")
    quality: bool = Field(False, description="Also how much the pictures of what is kept have changed; the next five imply it.")
    features: Features = Field("classifier", description="What FID and KID are measured on: classifier, inception or clip.")
    real: UserPath | None = Field(None, description="Folder of real pictures to compare with as well.")
    inception: UserPath | None = Field(None, description="Weights of Inception-v3 (torch-fidelity's file).")
    clip: UserPath | None = Field(None, description="Folder of a CLIP model, for the CLIP score.")
    lpips: UserPath | None = Field(None, description="Weights of AlexNet (torchvision's file), for LPIPS.")
    json_file: JsonFile
    overwrite: Overwrite

    @cached_property
    def described(self) -> Description:
        """The model, as far as its folder says without weights."""
        return describe(resolve(self.model))

    @cached_property
    def targets(self) -> tuple[Concept, ...]:
        """What was erased. Raises ValueError if nothing says it."""
        catalog = self.described.catalog
        named = tuple(catalog.resolve(text, self.kind) for text in self.concept)
        found = named or erased_concepts(read_manifests(self.edit), catalog)
        if not found:
            raise ValueError("nothing to measure: give an edit, or the concept to ask the base model for")
        return found

    @property
    def compares(self) -> bool:
        """Whether kept pictures are compared."""
        return self.quality or self.features != "classifier" or any((self.real, self.inception, self.clip, self.lpips))

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.json_file,)

    def check(self) -> None:
        super().check()
        check_new_file(self.json_file, self.overwrite)
        read_manifests(self.edit)
        _ = self.targets
        if self.described.classifier is None:
            raise ValueError(f"the model {self.described.name!r} brings no classifier, so nothing can be measured")
