"""What is asked for when a student learns from its teacher."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from excise.concepts import Concept
from excise.erasure.checkpoints import Workplace
from excise.models.contents import model_files
from excise.models.families import check_offers
from excise.models.names import Description, describe, resolve
from excise.pruning.distill_settings import DistillSettings, Mode, Upper
from excise.requests.fields import Device, Dtype, Flag, KindName, Names, Overwrite, PathOrName, Seed, UserPath
from excise.requests.request import Request
from excise.requests.students import STUDENT, check_outside, read_student
from excise.settings import parse_assignments, parse_settings


class DistillRequest(Request):
    """Repair a pruned model by learning from its teacher; with `erase`, remove concepts meanwhile (arXiv 2412.15341).

    Writes a full diffusers folder with student.json, which says what was learned from whom. Where the student has all of its teacher's blocks,
    the folder edit in it holds the same as an edit of the teacher. The teacher makes the pictures to learn from, of all concepts that it
    declares but those that are erased; settings give prompts (retain) or a folder (retain_folder) in their place. A run that was stopped goes
    on with `resume`: on the CPU, with as many threads, to the same bits.

    Returns what student.json holds. Raises ValueError for a student that does not fit its teacher, unknown concepts or settings,
    FileNotFoundError, FileExistsError; FloatingPointError if the training diverges.
    """

    student: Annotated[PathOrName, Flag(positional=True)] = Field(
        description="The model that learns: a folder of excise prune, or any with some of its teacher's blocks."
    )
    teacher: PathOrName = Field("canvas", description="The model that it learns from, most often the one it was pruned from.")
    erase: Names = Field(
        (), description="Concept to erase meanwhile; may be given several times. Default none: repairing alone."
    )
    kind: KindName
    mode: Mode = Field(
        "penalty", description="How erasing and repairing are put together: penalty (the paper) or alternating (its code)."
    )
    upper: Upper = Field(
        "esd",
        description="Whose loss erases: esd (away from the concept), mim (its prompt without the words), sdd (no prompt), ca (anchor).",
    )
    out: UserPath = Field(description="Folder for the model.")
    seed: Seed
    settings: Annotated[dict[str, Any], Flag("--set", metavar="KEY=VALUE", read=parse_assignments)] = Field(
        {}, description="Setting of the training; --dry-run shows the keys, and preset=NAME chooses a published set."
    )
    resume: bool = Field(False, description="Go on with the run that was stopped.")
    overwrite: Overwrite
    device: Device
    dtype: Dtype

    @cached_property
    def described(self) -> Description:
        """The teacher, as far as its folder says without weights."""
        return describe(resolve(self.teacher))

    @cached_property
    def targets(self) -> tuple[Concept, ...]:
        """What to erase. Raises ValueError for a name that the teacher does not have, or one that is given twice."""
        found = tuple(self.described.catalog.resolve(text, self.kind) for text in self.erase)
        labels = [concept.label for concept in found]
        if len(set(labels)) < len(labels):
            raise ValueError(f"a concept is named twice: {', '.join(labels)}")
        return found

    @cached_property
    def parsed(self) -> DistillSettings:
        """The settings."""
        return parse_settings(DistillSettings, self.settings, "distillation", "setting of distillation")

    @property
    def workplace(self) -> Workplace:
        """Where the run keeps what it has done."""
        return Workplace(self.out, STUDENT)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        return (self.out,)

    def check(self) -> None:
        student, teacher = resolve(self.student), resolve(self.teacher)
        for model in (student, teacher):
            check_offers(model, "distillation", ("U-Net",))
        check_outside(self.out, student, teacher)
        _ = self.targets, self.parsed
        if self.parsed.retain == "masked" and not self.targets:
            raise ValueError(
                "retain=masked keeps the erased concepts' prompts without their words; name a concept to erase with it"
            )
        if self.targets:
            self.parsed.check_erases(self.mode)
        if isinstance(student, Path) and student.is_dir():
            model_files(student)
            read_student(student)
        self.workplace.check(resume=self.resume, overwrite=self.overwrite)
