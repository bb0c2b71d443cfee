"""Distillation of a student from its teacher, with concepts to erase or without."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from excise.concepts import Concept
from excise.digests import digest_values
from excise.edits.applied import base_fingerprint
from excise.erasure import subspaces
from excise.erasure.run import Run
from excise.erasure.saved_round import read_round, write_round
from excise.erasure.trainable import Trainable, check_trainable
from excise.erasure.training_pictures import check_retained, retained_pictures
from excise.finite import check_finite
from excise.methods import task
from excise.models import Model
from excise.models.fingerprint import named_tensors
from excise.pruning import saved_levels
from excise.pruning.bilevel import BilevelTrainer, Plan, StepLosses, adamw
from excise.pruning.distill_settings import DistillSettings, Mode, Upper
from excise.pruning.erasing import Erasing
from excise.pruning.repair import Repair, common_blocks

log = logging.getLogger(__name__)
REMEDY = "try smaller learning rates"
COLUMNS = tuple(field.name for field in fields(StepLosses))


@dataclass(frozen=True)
class Levels:
    """How concepts are erased meanwhile: how the levels are put together, and whose loss is the upper one."""

    mode: Mode = "penalty"
    upper: Upper = "esd"


def check_fits(student: Model, teacher: Model) -> None:
    """Raise ValueError unless a model can learn from another: the same words, pictures and noise path, and blocks that hand on the same; or
    for one in float16."""
    whose = f"{student.name} does not fit its teacher {teacher.name}"
    if not student.path.same_as(teacher.path):
        raise ValueError(f"{whose}: they have different noise schedules, or predict different things")
    if student.latent_shape != teacher.latent_shape:
        raise ValueError(f"{whose}: its latents are {student.latent_shape}, the teacher's {teacher.latent_shape}")
    for part in student.parts:
        if part != student.prefix and not _same(*(getattr(model.pipeline, part, None) for model in (student, teacher))):
            raise ValueError(f"{whose}: its {part} has other weights than the teacher's")
    check_trainable(student)
    common_blocks(student, teacher)


def _same(one: nn.Module | None, other: nn.Module | None) -> bool:
    """Whether two networks have the same weights, compared in half precision: small models are often published in it."""
    if one is None or other is None:
        return one is other
    ours, theirs = one.state_dict(), other.state_dict()
    same = ours.keys() == theirs.keys() and all(ours[name].shape == theirs[name].shape for name in ours)
    return same and all(torch.equal(ours[name].half(), theirs[name].half()) for name in ours)


def identity(
    student: Model, teacher: Model, concepts: Sequence[Concept], levels: Levels, settings: DistillSettings, seed: int
) -> dict[str, Any]:
    """What must be the same for a run to go on to the same bits."""
    return {
        **task("distill", student, concepts),
        "teacher": base_fingerprint(teacher),
        "mode": levels.mode,
        "upper": levels.upper,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
    }


def train_student(
    student: Model, teacher: Model, concepts: Sequence[Concept], levels: Levels, settings: DistillSettings, run: Run
) -> list[StepLosses]:
    """Train all of the student's denoiser in place; the teacher, the autoencoder and what reads prompts stay as they are.

    concepts  what is erased meanwhile; none: repairing alone

    Returns the mean losses of every round. Raises ValueError if the student does not fit its teacher, for a float16 student, or what
    `retained_pictures` and `learning_pictures` raise; FloatingPointError if the training diverges.
    """
    check_fits(student, teacher)
    check_retained(teacher, concepts, settings)
    erasing = Erasing(student, teacher, concepts, levels.upper, settings, run) if concepts else None
    repair = Repair(student, teacher, *retained_pictures(teacher, concepts, settings, run), settings, run)
    name = digest_values(identity(student, teacher, concepts, levels, settings, run.seed)) if run.checkpoint else ""
    with Trainable(student, subspaces.select(student, "full")) as trainable:
        descent = partial(adamw, weight_decay=settings.weight_decay)
        trainer = BilevelTrainer(trainable.parameters, repair, erasing, plan(levels.mode, settings, bool(concepts)), descent)
        try:
            found = _rounds(trainer, settings, run, name)
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise FloatingPointError(f"the training left the range of floats ({error}); {REMEDY}") from error
        trained = {name: parameter.data for name, parameter in trainable.parameters.items()}
    check_finite(trained, "a weight of the student", REMEDY)
    everything = named_tensors(student)
    for name, tensor in trained.items():
        everything[name].data = tensor.to(everything[name].dtype)
    return found


def plan(mode: Mode, settings: DistillSettings, erases: bool = True) -> Plan:
    """How the levels are put together, by settings: every level has a schedule of its own, counted in its own steps."""
    total = settings.rounds * settings.steps
    upper = settings.erasing_steps(mode)
    lower = total - upper if mode == "penalty" and erases else total
    rates = partial(rate, settings, settings.lr, lower), partial(rate, settings, settings.upper_lr, upper)
    return Plan(mode, rates, settings.lam, settings.inner, settings.every, settings.warm_start, settings.clip)


def rate(settings: DistillSettings, highest: float, total: int, done: int) -> float:
    """The learning rate of a level's step number `done` of `total`: rising while it warms up, then constant or a half cosine."""
    share = min(1.0, (done + 1) / settings.warmup) if settings.warmup else 1.0
    fall = (1 + math.cos(math.pi * done / max(1, total))) / 2 if settings.schedule == "cosine" else 1.0
    return highest * share * fall


def _rounds(trainer: BilevelTrainer, settings: DistillSettings, run: Run, name: str) -> list[StepLosses]:
    """All steps; a checkpoint after every round."""
    seen = torch.zeros(
        settings.rounds, 2, len(COLUMNS), dtype=torch.float64
    )  # of every round the sums of losses, and of how many
    total, first = settings.rounds * settings.steps, _resumed(trainer, settings, run, name, seen)
    for round_ in range(first, settings.rounds):
        for step in range(round_ * settings.steps, (round_ + 1) * settings.steps):
            run.progress("distilling", step, total)
            found = astuple(trainer.step(step))
            seen[round_] += torch.tensor([[value or 0.0 for value in found], [value is not None for value in found]])
        log.info("round %d: %s", round_, _losses(seen[round_]))
        if run.checkpoint is not None:
            write_round(run.checkpoint, saved_levels.to_tensors(trainer, seen), name, round_ + 1)
    run.progress("distilling", total, total)
    return [_losses(each) for each in seen]


def _resumed(trainer: BilevelTrainer, settings: DistillSettings, run: Run, name: str, seen: Tensor) -> int:
    """Go on from the checkpoint, if there is one; returns how many rounds are done."""
    if run.checkpoint is None or not run.checkpoint.exists():
        return 0
    saved, done = read_round(run.checkpoint, name, settings.rounds)
    saved_levels.restore(trainer, saved, run.checkpoint, seen)
    return done


def _losses(seen: Tensor) -> StepLosses:
    """The means of a round; what was never looked at is None."""
    return StepLosses(*(total / count if count else None for total, count in seen.T.tolist()))
