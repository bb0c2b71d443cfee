"""What is measured on the pictures of a model."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from excise.concepts import Concept
from excise.evaluation.picture_counts import BYSTANDER_PICTURES, DOWNSTREAM_PICTURES, OTHER_PICTURES, TARGET_PICTURES
from excise.evaluation.weights import Features
from excise.files import check_new_file
from excise.models.families import check_offers
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
    PicturesOrNone,
    Seed,
    UserPath,
    on_disk,
)
from excise.requests.restorers import pick_restorer


class EvaluateRequest(Drawn):
    """Measure a model: UA, IRA, CRA and the neutral rate, base beside edited.

    Raises ValueError if there is no concept, the model brings no classifier, or `downstream` is asked of one without a restorer,
    FileExistsError if `json` is there, FileNotFoundError for weights or pictures that are not.
    """

    edit: EditFolders
    concept: Names = Field((), description="What was erased; default what the edits say.")
    kind: KindName
    seed: Seed
    target_pictures: Pictures = Field(TARGET_PICTURES, description="Pictures of each erased concept.")
    other_pictures: Pictures = Field(OTHER_PICTURES, description="Pictures of each other concept.")
    bystander_pictures: PicturesOrNone = Field(
        BYSTANDER_PICTURES,
        description="Pictures, in all, of things that the model lists as known and no method is told of; 0: none.",
    )
    quality: bool = Field(False, description="Also how much the pictures of what is kept have changed; the next five imply it.")
    features: Features = Field("classifier", description="What FID and KID are measured on: classifier, inception or clip.")
    real: UserPath | None = Field(None, description="Folder of real pictures to compare with as well.")
    inception: UserPath | None = Field(None, description="Weights of Inception-v3 (torch-fidelity's file).")
    clip: UserPath | None = Field(None, description="Folder of a CLIP model, for the CLIP score.")
    lpips: UserPath | None = Field(None, description="Weights of AlexNet (torchvision's file), for LPIPS.")
    downstream: Literal["sr"] | None = Field(
        None, description="Also whether a task suffers that rides on the model and names no concept: sr, super-resolution."
    )
    restorer: UserPath | None = Field(
        None, description="File of the model's restorer, for sr; default the built-in one of the canvas."
    )
    downstream_pictures: Pictures = Field(
        DOWNSTREAM_PICTURES, description="Pictures of sr that show other concepts, as many of near ones and of the erased one."
    )
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
        return self.quality or self.features != "classifier" or any((self.real, self.clip, self.lpips))

    @cached_property
    def restorer_file(self) -> Path:
        """The model's restorer; see `pick_restorer`."""
        return pick_restorer(self.model, self.restorer)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (on_disk(self.json_file),)

    def check(self) -> None:
        super().check()
        check_new_file(on_disk(self.json_file), self.overwrite)
        read_manifests(self.edit)
        _ = self.targets
        if self.described.classifier is None:
            raise ValueError(f"the model {self.described.name!r} brings no classifier, so nothing can be measured")
        if self.inception is not None and self.features != "inception":
            raise ValueError("weights of Inception are what features=inception works with; ask for that, or leave them out")
        self._check_downstream()

    def _check_downstream(self) -> None:
        if self.downstream is None:
            if self.restorer is not None:
                raise ValueError("a restorer is what downstream=sr works with; ask for that, or leave it out")
            return
        if not self.edit:
            raise ValueError("downstream compares the model before and with an edit; give an edit")
        check_offers(resolve(self.model), "downstream=sr", ("U-Net",))
        _ = self.restorer_file
