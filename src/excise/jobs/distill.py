"""A student that learns from its teacher, from beginning to end: load, train, write the folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.edits.importing import import_edit
from excise.erasure.run import Run
from excise.files import new_result
from excise.jobs.model_folder import rename, write_model
from excise.jobs.prune import source
from excise.models import Model, load
from excise.models.context import check_read
from excise.models.fingerprint import named_tensors
from excise.models.names import resolve
from excise.progress import Progress, silent
from excise.pruning.bilevel import StepLosses
from excise.pruning.student_training import Levels, check_fits, identity, train_student
from excise.requests.distill import DistillRequest
from excise.requests.request import function
from excise.requests.students import STUDENT, read_student
from excise.results.student import Distillation, RoundLosses, Source, StudentFile
from excise.versions import versions


def run(request: DistillRequest, progress: Progress = silent) -> StudentFile:
    """Carry out a request that was checked."""
    workplace, levels = request.workplace, Levels(request.mode, request.upper)
    with workplace.opened():
        progress("loading the models", 0, 1)
        student, teacher = (
            load(name, device=request.device, dtype=request.dtype) for name in (request.student, request.teacher)
        )
        progress("loading the models", 1, 1)
        check_fits(student, teacher)
        check_read(teacher, request.targets)
        before = source(student)
        task = identity(student, teacher, request.targets, levels, request.parsed, request.seed)
        with workplace.claimed(task, resume=request.resume) as spent:
            began = time.perf_counter()
            means = train_student(
                student, teacher, request.targets, levels, request.parsed, Run(request.seed, workplace.checkpoint, progress)
            )
            learned = _learned(request, before, teacher, student, means, time.perf_counter() - began + spent)
            about = _about(request, student, learned)
            _write(request, about, student, teacher)
    return about


distill = function(DistillRequest, run)


def _learned(
    request: DistillRequest, before: Source, teacher: Model, student: Model, means: Sequence[StepLosses], seconds: float
) -> Distillation:
    return Distillation(
        student=before,
        teacher=source(teacher),
        concepts=tuple(concept.label for concept in request.targets),
        mode=request.mode if request.targets else None,
        upper=request.upper if request.targets else None,
        settings=request.parsed.model_dump(mode="json"),
        seed=request.seed,
        rounds=tuple(RoundLosses(**asdict(each)) for each in means),
        seconds=seconds,
        dtype=student.precision,
        device=student.device.type,
        versions=versions(),
    )


def _ending(request: DistillRequest) -> str:
    """What the model is called after the name that it had."""
    names = ", ".join(concept.label for concept in request.targets)
    return f"distilled without {names}" if names else "distilled"


def _about(request: DistillRequest, student: Model, learned: Distillation) -> StudentFile:
    """What was known of the student, and what it learned now."""
    where = resolve(request.student)
    known = None if isinstance(where, str) else read_student(where)
    return StudentFile(
        model=Source(model=f"{student.name} {_ending(request)}", fingerprint=base_fingerprint(student)),
        pruning=known.pruning if known else None,
        distilled=(*(known.distilled if known else ()), learned),
    )


def _write(request: DistillRequest, about: StudentFile, student: Model, teacher: Model) -> None:
    """All files of the result, all or nothing."""
    with new_result(request.out, STUDENT, request.overwrite) as folder:
        write_model(student, {student.prefix}, folder)
        rename(folder, _ending(request))
        about.write(folder / STUDENT.marker)
        if _same_shapes(student, teacher):
            (folder / "edit").mkdir()
            _edit(request, student, teacher).write(folder / "edit")


def _same_shapes(student: Model, teacher: Model) -> bool:
    ours, theirs = ({name: each.shape for name, each in named_tensors(model).items()} for model in (student, teacher))
    return ours == theirs


def _edit(request: DistillRequest, student: Model, teacher: Model) -> Edit:
    """What the student learned, as an edit of its teacher."""
    concepts = tuple(concept.to_dict() for concept in request.targets)
    edit = import_edit(teacher, student, concepts=concepts)
    told = {"mode": request.mode, "upper": request.upper, **request.parsed.model_dump(mode="json")}
    return edit.with_manifest(edit.manifest.model_copy(update={"method": "distill", "settings": told, "seed": request.seed}))
