"""SepME: one weight shift per concept that no protected prompt can feel, so that any of them can be taken back (arXiv 2402.05947)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import torch
from torch import Generator, Tensor

from excise.concepts import Concept, apart
from excise.edits import WeightEdit, applied_edits
from excise.erasure.make_edit import finish, manifest
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.run import Run
from excise.erasure.subspaces import select
from excise.erasure.targets import noised, predictions
from excise.erasure.trainable import Trainable, check_trainable
from excise.erasure.training import train
from excise.erasure.training_pictures import Learning, learning_pictures
from excise.erasure.wording import preserved, worded
from excise.methods.sepme import SepmeSettings
from excise.methods.sepme.shifts import Shifts, leakage, null_space
from excise.models import Model
from excise.models.context import tell_cut
from excise.models.entrances import Way
from excise.models.path import per_row

MOMENTUM, EARLIEST = 0.9, 10
"""Of the running mean that stops the training (alpha), and the step (from 0) that it may stop after at the earliest."""


@dataclass(frozen=True)
class Target:
    """A concept to erase.

    bank     its prompts
    pictures pictures of them
    means    (3,) float64, changes while training: steps done, running means of the loss as it is and as it was before training
    """

    label: str
    bank: PromptBank
    pictures: Learning
    means: Tensor


def erase(model: Model, concepts: Sequence[Concept], settings: SepmeSettings, run: Run) -> WeightEdit:
    """Train every shift until what its concept's prompts add to the prediction no longer correlates with what they added before."""

    check_trainable(model)
    if settings.folder is not None and len(concepts) > 1:
        raise ValueError(
            "a folder holds pictures of one concept; erase one at a time, or leave folder out: pictures are made then"
        )
    whole = settings.variant == "whole"
    rows = {} if whole else protected_rows(model, concepts, settings)
    bases = {label: {way: free_directions(own[way], label, settings) for way in model.ways} for label, own in rows.items()}
    shared = settings.variant != "separate"  # weights: then no prompt of one concept names another
    targets = [_target(model, concept, settings, run) for concept in (apart(concepts) if shared else concepts)]
    if whole:
        with Trainable(model, select(model, "attn2")) as trainable:
            _train(
                model,
                targets,
                trainable,
                settings,
                run,
                lambda: [p - trainable.before[n] for n, p in trainable.parameters.items()],
            )
            deltas = trainable.deltas()
        edit = finish(model, deltas, "sepme", concepts, settings, run)
    else:
        groups = [targets] if settings.variant == "joint" else [[target] for target in targets]
        parts: dict[str, Any] = {}
        for number, group in enumerate(groups):
            with Shifts(model, {t.label: bases[t.label] for t in group}, settings.beta) as shifts:
                _train(model, group, shifts, settings, _part(run, number, len(groups)), shifts.changes)
                parts |= shifts.parts()
        edit = WeightEdit.of_parts(parts, manifest(model, "sepme", concepts, settings, run))
    told = {
        "steps_taken": {target.label: int(target.means[0]) for target in targets},
        "free_directions": {label: min(map(len, own.values())) for label, own in bases.items()},
        "leakage": {label: max(leakage(rows[label][way], basis) for way, basis in own.items()) for label, own in bases.items()},
    }
    return edit.with_measurements(told)


def protected_rows(model: Model, concepts: Sequence[Concept], settings: SepmeSettings) -> dict[str, dict[Way, Tensor]]:
    """Label -> way in -> all rows (n, width) of the prompts that the concept's shift may not touch.

    Those are the empty prompt, the protected ones, and the names of the other concepts: of these, and of edits that are on the model.
    """

    declared = {concept.label: concept for concept in model.catalog.concepts}
    others = list(concepts)
    for entry in (entry for edit, _ in applied_edits(model) for entry in _erased(edit.manifest.model_dump())):
        concept = Concept(entry["name"], entry["kind"], tuple(entry.get("phrases") or [entry["name"]]))
        others.append(replace(declared.get(concept.label, concept), phrases=concept.phrases))
    found = {}
    for concept in concepts:
        kept = {text for other in others if other.label != concept.label for text in _prompts(other, concept, settings)}
        texts = {"", *preserved(model, [concept], [settings.protect]), *kept} - set(concept.phrases)
        tell_cut(model, sorted(texts))
        told = model.encode(sorted(texts))  # sorted: the same set, the same bits
        found[concept.label] = {way: model.read(told, way) for way in model.ways}
    return found


def _prompts(other: Concept, concept: Concept, settings: SepmeSettings) -> list[str]:
    """What the shift of a concept may not touch of another one."""
    if settings.exact == "plain":
        return [pair.prompt for pair in other.beside(concept.phrases).plain_pairs()]
    return list(other.phrases[: 1 if settings.exact == "name" else None])


def free_directions(rows: Tensor, label: str, settings: SepmeSettings) -> Tensor:
    """Directions (q, width) that the shift may read: none that `rows` have. Raises ValueError if there is none."""

    basis = null_space(rows, settings.tolerance)
    if not len(basis):
        raise ValueError(
            f"the prompts that the erasure of {label} must not touch ({len(rows)} rows of {rows.shape[1]} numbers) leave no direction "
            "free; erase fewer concepts at once, or protect fewer prompts"
        )
    return basis


def correlation(
    model: Model, target: Target, trainable: Shifts | Trainable, settings: SepmeSettings, generator: Generator
) -> tuple[Tensor, Tensor]:
    """L_cor on a batch of noised pictures, and what it is without training: means of r r0 and r0 r0, r = e(concept) - e(empty)."""

    clean, rows = target.pictures.draw(settings.batch, generator)
    noisy, _, t = noised(model, clean, generator)
    texts = target.bank.empty, target.bank.conditioned[rows]
    with trainable.untrained():
        empty, own = predictions(model, noisy, t, *texts)
    if settings.variant == "whole":
        now_empty, now = predictions(model, noisy, t, *texts)
    else:
        now_empty, now = empty, model.predict(noisy, t, texts[1])  # the empty prompt cannot feel the shifts
    before = per_row(model.path.noise_scale(t), own) * (own - empty)
    return ((now - now_empty) * before).mean(), ((own - empty) * before).mean()


def follow(means: Tensor, now: float, before: float) -> None:
    """Take the losses of one more step into the running means (3,)."""
    for place, value in ((1, now), (2, before)):
        means[place] = value if means[0] == 0 else MOMENTUM * means[place] + (1 - MOMENTUM) * value
    means[0] += 1


def ended(means: Tensor, settings: SepmeSettings) -> bool:
    """Whether the running mean has fallen to tau."""
    limit = settings.tau * (float(means[2]) if settings.tau_unit == "share" else 1.0)
    return float(means[0]) - 1 > EARLIEST and float(means[1]) <= limit


def _train(
    model: Model, targets: Sequence[Target], trainable: Shifts | Trainable, settings: SepmeSettings, run: Run,
    changes: Callable[[], list[Tensor]],
) -> None:  # fmt: skip
    """Minimise the losses of the targets together; `changes` gives what every matrix is changed by so far."""

    latest: dict[str, tuple[float, float]] = {}
    total = {name: torch.zeros_like(p) for name, p in trainable.parameters.items()} if settings.accumulate else {}

    def prepare(round_: int) -> Callable[[int], Tensor]:
        def loss(step: int) -> Tensor:
            losses = []
            for target in targets:
                generator = run.generator(1, round_, step, crc32(target.label.encode()))
                now, before = correlation(model, target, trainable, settings, generator)
                latest[target.label] = now.item(), before.item()
                losses.append(now)
            stacked = torch.stack(losses)
            size = stacked.detach().abs().clamp_min(1e-12)
            weights = size.max() / size if len(losses) > 1 else torch.ones_like(size)  # eta: all concepts count alike
            sizes = [change.abs().sum() for change in changes()] if settings.l1 else [torch.zeros(())]
            return (weights * stacked).sum() + settings.l1 * torch.stack(sizes).mean()

        return loss

    def accumulate() -> None:
        for name, sum_ in total.items():
            parameter = trainable.parameters[name]
            if parameter.grad is not None:
                parameter.grad = sum_.add_(parameter.grad).clone()

    def after() -> bool:
        for target in targets:
            follow(target.means, *latest[target.label])
        return all(ended(target.means, settings) for target in targets)

    state = {f"means.{t.label}": t.means for t in targets} | {f"total.{name}": sum_ for name, sum_ in total.items()}
    train(trainable, prepare, settings, run, adjust=accumulate, after=after, state=state)


def _target(model: Model, concept: Concept, settings: SepmeSettings, run: Run) -> Target:

    bank = PromptBank.of_pairs(model, [worded(concept, settings.wording, None)])
    pictures = learning_pictures(model, bank, settings, run, shows="conditioned")
    return Target(concept.label, bank, pictures, torch.zeros(3, dtype=torch.float64))


def _erased(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The concepts that an edit, and those it contains or was made on top of, erased or gave back."""
    yield from (*manifest["concepts"], *manifest.get("restored", ()))
    for below in manifest["ledger"]:
        yield from _erased(below)


def _part(run: Run, number: int, count: int) -> Run:
    """One of `count` trainings of a run: its own checkpoint, its part of the progress."""
    checkpoint = run.checkpoint
    if checkpoint is not None and number:
        checkpoint = checkpoint.with_name(f"{checkpoint.stem}-{number}{checkpoint.suffix}")

    def progress(stage: str, done: int, total: int) -> None:
        run.progress(stage, number * total + done, count * total)

    return replace(run, checkpoint=checkpoint, progress=progress)
