"""Serving a queue of removals: every edit is made once, then put together, recorded, measured, and told in the queue's file.

What is done is kept at every moment: an edit that is there is not made again, one that is being made goes on from its checkpoint, and the
ledger and the file's states are worked out anew from what is there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from excise.concepts import Concept
from excise.edits import Edit, compose, load_edit, restored
from excise.edits.applied import base_fingerprint, original_tensors
from excise.edits.manifest import EDIT, MANIFEST, TENSORS
from excise.erasure.checkpoints import Workplace
from excise.erasure.run import Run
from excise.evaluation import Classifier, evaluate
from excise.evaluation.picture_counts import ASKED_FOR, NOT_ASKED
from excise.evaluation.prompt_grid import check_heads, questions
from excise.files import check_ours, delete_files, vacant, writing
from excise.jobs.export import run as export_lora
from excise.jobs.inputs import load_wanted, measured_soon
from excise.jobs.removal_records import records
from excise.methods import task
from excise.models import Model
from excise.models.context import check_read
from excise.progress import Progress, silent
from excise.report.folder_reader import read
from excise.report.page import NAME, build
from excise.requests.export import ExportRequest
from excise.requests.queue import QUEUE, RESULT, QueueExportRequest, QueueRunRequest, planned
from excise.requests.removal_plan import STEPS, PlannedStep, comes_back
from excise.requests.removals import Queue
from excise.requests.request import function
from excise.results.removal_ledger import ErosionPoint, RemovalLedger, RemovalStep
from excise.settings import parse
from excise.versions import versions


def run(request: QueueRunRequest, progress: Progress = silent) -> RemovalLedger:
    """Carry out a request that was checked."""
    queue, out = request.asked, request.out
    before, steps = planned(queue)
    written = check_ours(out, QUEUE, _files(steps))
    content = queue.content
    blank = RemovalLedger(model=queue.described.name, strategy=content.strategy, seed=content.seed)
    ledger = (before or blank).model_copy(update={"strategy": content.strategy, "seed": content.seed, "written": written})
    returned = comes_back(before, steps)
    if not _finished(request, before, steps):
        ledger.write(out / QUEUE.marker)
        ledger = _Service(request, steps, progress).served(ledger)
    ledger = ledger.model_copy(update={"records": records(queue, ledger, steps, returned)})
    ledger.write(out / QUEUE.marker)
    _tell(request, ledger)
    ledger = _tidied(out, steps, ledger)
    build(read(out), out / NAME)
    return ledger


def export(request: QueueExportRequest) -> Path:
    """Carry out a request that was checked; returns what was written."""
    if request.to.suffix == ".safetensors":
        options = {"edit": request.edit, "to": request.to, "overwrite": request.overwrite}
        export_lora(parse(ExportRequest, options, "option"))
    else:
        load_edit(request.edit).save_pretrained(request.to, overwrite=request.overwrite)
    return request.to


run_queue = function(QueueRunRequest, run)
export_queue = function(QueueExportRequest, export)


@dataclass
class _Service:
    """Makes the edits, puts them together and measures them, with one model in memory."""

    request: QueueRunRequest
    steps: Sequence[PlannedStep]
    progress: Progress

    def served(self, ledger: RemovalLedger) -> RemovalLedger:
        """The result's edit is written, and the ledger knows its edits and what was measured."""
        model = self._model(ledger)
        ledger = ledger.model_copy(update={"base": base_fingerprint(model), "versions": versions()})
        self._check(model)
        known = {step.name for step in ledger.steps}
        made: list[Edit] = []
        done: list[RemovalStep] = []
        for number, step in enumerate(self.steps):
            edit, seconds = self._edit(model, step, made, number)
            _check_fits(edit, made, step)
            made.append(edit)
            done.append(_record(step, edit, seconds, ledger))
            if step.name not in known and self.request.asked.content.strategy == "sequential":
                ledger = self._measured(model, ledger, made, self.steps[: number + 1])
        if made:
            ledger = self._measured(model, ledger, made, self.steps)
            compose(made).save_pretrained(self.request.out / RESULT, overwrite=True)
        elif not vacant(self.request.out / RESULT):
            delete_files(self.request.out / RESULT, EDIT.written(self.request.out / RESULT))
        return ledger.model_copy(update={"steps": tuple(done)})

    def _model(self, ledger: RemovalLedger) -> Model:
        """The model. Raises ValueError if the edits that are there are of other weights."""
        self.progress("loading the model", 0, 1)
        model = load_wanted(self.request)
        if ledger.steps and not set(ledger.base.items()) & set(base_fingerprint(model).items()):
            raise ValueError(
                f"{self.request.out} was made of other weights than {ledger.model!r} has now; give the queue another out, or move it away"
            )
        self.progress("loading the model", 1, 1)
        return model

    def _check(self, model: Model) -> None:
        """Raise ValueError for what can be known before the first edit is made."""
        concepts = self._concepts(self.steps)
        check_read(model, concepts)
        if concepts and self._evaluable(model):
            assert model.classifier is not None
            bystanders = min(_pictures(self.request)[2], len(model.bystanders))
            asked = questions(model, concepts, 1, 1, self.request.asked.content.seed, bystanders)
            check_heads(Classifier.load(model.classifier), asked, model)

    def _edit(self, model: Model, step: PlannedStep, below: Sequence[Edit], number: int) -> tuple[Edit, float | None]:
        """The edit of a step, and the seconds that it took now."""
        folder = self.request.out / STEPS / step.name
        if step.how == "kept":
            edit = load_edit(folder)
            edit.check_base(model)
            return edit, None
        if step.whole is not None:
            edit = _part(load_edit(folder.with_name(step.whole)), step)
            edit.check_base(model)
            edit.save_pretrained(folder)
            return edit, None
        with ExitStack() as on:
            for each in below:
                on.enter_context(each.applied(model))
            seconds = self._erase(model, step, Workplace(folder), number)
        return load_edit(folder), seconds  # as a run finds it that goes on from here: the same bits, laid out in the same way

    def _erase(self, model: Model, step: PlannedStep, workplace: Workplace, number: int) -> float:
        """The edit is made and written; returns the seconds that it took."""
        first, seed = step.entries[0], self.request.asked.content.seed
        concepts = self._concepts([step])
        identity = {**task(first.method.name, model, concepts), "settings": first.settings.model_dump(), "seed": seed}

        def progress(stage: str, done: int, total: int) -> None:
            self.progress(f"{number + 1}/{len(self.steps)} {stage}", done, total)

        claim = workplace.claimed(identity, resume=not self.request.overwrite, again="")
        with workplace.opened(), claim as spent:
            began = time.perf_counter()
            edit = first.method.erase(model, concepts, first.settings, Run(seed, workplace.checkpoint, progress))
            edit.save_pretrained(workplace.out)
            return spent + time.perf_counter() - began

    def _measured(
        self, model: Model, ledger: RemovalLedger, edits: Sequence[Edit], steps: Sequence[PlannedStep]
    ) -> RemovalLedger:
        """The ledger, written, with a point for these edits; one that is there is kept."""
        names = tuple(step.name for step in steps)
        there = next((point for point in ledger.points if point.steps == names), None)
        if there is not None and _answers(there, self.request):
            return ledger
        concepts = self._concepts(steps)
        found, note = None, NOT_ASKED if self.request.evaluate == "none" else f"the model {model.name!r} brings no classifier"
        if self._evaluable(model):
            target, other, bystanders = _pictures(self.request)
            with measured_soon(self.request, model, self.request.evaluate):
                found, note = evaluate(
                    model, concepts, list(edits), seed=self.request.asked.content.seed, progress=self.progress,
                    target_pictures=target, other_pictures=other, bystander_pictures=bystanders,
                ), ""  # fmt: skip
        labels = tuple(concept.label for concept in concepts)
        point = ErosionPoint(
            steps=names, concepts=labels, drift=drift(model, edits), evaluation=found, note=note, asked=_pictures(self.request)
        )
        points = [point if each is there else each for each in ledger.points] + [point] * (there is None)
        ledger = ledger.model_copy(update={"points": tuple(points)})
        ledger.write(self.request.out / QUEUE.marker)
        return ledger

    def _evaluable(self, model: Model) -> bool:
        return self.request.evaluate != "none" and model.classifier is not None and bool(model.catalog.concepts)

    def _concepts(self, steps: Sequence[PlannedStep]) -> list[Concept]:
        return [entry.concept for step in steps for entry in step.entries]


def drift(model: Model, edits: Sequence[Edit]) -> float | None:
    """Norm of the change that edits make together over the norm of all weights that an edit may change; None for adapters."""
    if any(edit.manifest.kind != "weights" for edit in edits):
        return None
    base = sum(float(tensor.double().square().sum()) for tensor in original_tensors(model).values())
    change = sum(float(delta.dense().double().square().sum()) for delta in compose(edits).deltas.values())
    return float((change / base) ** 0.5)


def _part(whole: Edit, step: PlannedStep) -> Edit:
    """An edit without its part of the concepts that the step does not serve."""
    return restored(whole, [label for label in whole.manifest.names if label not in step.labels])


def _check_fits(edit: Edit, others: Sequence[Edit], step: PlannedStep) -> None:
    """Raise ValueError at once for an edit that cannot be put together with those before it."""
    if others and edit.manifest.kind != others[0].manifest.kind:
        raise ValueError(
            f"the edit of {', '.join(step.labels)} ({edit.manifest.method}) is of another kind than the one of "
            f"{', '.join(others[0].manifest.names)} ({others[0].manifest.method}); they cannot be put together"
        )


def _record(step: PlannedStep, edit: Edit, seconds: float | None, ledger: RemovalLedger) -> RemovalStep:
    known = next((each for each in ledger.steps if each.name == step.name), None)
    return known or RemovalStep(
        name=step.name,
        works=step.works,
        concepts=step.labels,
        method=step.entries[0].method.name,
        below=step.below,
        separable=set(edit.parts) >= set(step.labels),
        seconds=seconds,
    )


def _files(steps: Sequence[PlannedStep]) -> list[str]:
    """What a run writes beside the ledger."""
    folders = [RESULT, *(f"{STEPS}/{step.name}" for step in steps)]
    return [NAME, *(f"{folder}/{name}" for folder in folders for name in (MANIFEST, TENSORS))]


def _finished(request: QueueRunRequest, ledger: RemovalLedger | None, steps: Sequence[PlannedStep]) -> bool:
    """Whether the result is what the queue asks for, and was measured if that is wanted."""
    names = tuple(step.name for step in steps)
    if ledger is None or tuple(step.name for step in ledger.steps) != names:
        return False
    if not names:
        return vacant(request.out / RESULT)
    point = next((point for point in ledger.points if point.steps == names), None)
    whole = (request.out / RESULT / MANIFEST).is_file()
    return whole and point is not None and _answers(point, request)


def _answers(point: ErosionPoint, request: QueueRunRequest) -> bool:
    """Whether a point says what a run is to measure; one of more pictures does."""
    if request.evaluate == "none":
        return True
    enough = point.asked is None or all(had >= wanted for had, wanted in zip(point.asked, _pictures(request), strict=True))
    return point.note != NOT_ASKED and enough


def _pictures(request: QueueRunRequest) -> tuple[int, int, int]:
    """How many are asked for: of each erased concept, of each other one, of bystanders in all."""
    if request.evaluate == "none":
        return 0, 0, 0
    usual, told = ASKED_FOR[request.evaluate], request.bystander_pictures
    return (
        request.target_pictures or usual.target,
        request.other_pictures or usual.other,
        usual.bystanders if told is None else told,
    )


def _tell(request: QueueRunRequest, ledger: RemovalLedger) -> None:
    """States in the queue's file, as it is now: requests that were added meanwhile stay open."""
    served = {(record.key, record.work) for record in ledger.records if record.state == "served"}
    try:
        with _alone(request.queue):
            queue = Queue.read(request.queue)
            numbers = [entry.number for entry in queue.wanted if (entry.key, entry.work) in served]
            changed = queue.with_states(dict.fromkeys(numbers, "served"))
            if changed is not queue:
                changed.write()
    except (ValueError, OSError) as error:
        error.add_note(f"the result is whole: {request.out}; the same command writes the states into the file")
        raise


_WAIT, _TRIES = 0.1, 100
"""Seconds between looks at a file that somebody else writes, and looks: adding a request takes a moment."""


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Inside the block nobody adds to the file; waits for who does."""
    with ExitStack() as on:
        for _ in range(_TRIES):
            with suppress(FileExistsError):
                on.enter_context(writing(path))
                break
            time.sleep(_WAIT)
        else:
            on.enter_context(writing(path))
        yield


def _tidied(out: Path, steps: Sequence[PlannedStep], ledger: RemovalLedger) -> RemovalLedger:
    """Edits that the result is not put together from any more are deleted, and what was begun of such; returns the ledger without them."""
    kept = {step.name for step in steps}
    gone = {file for file in ledger.written if file.startswith(f"{STEPS}/") and Path(file).parts[1] not in kept}
    for folder in {(out / file).parent for file in gone}:
        if folder.is_dir():
            delete_files(folder, (MANIFEST, TENSORS))
        shutil.rmtree(Workplace(folder).folder, ignore_errors=True)
    if gone:
        ledger = ledger.model_copy(update={"written": tuple(file for file in ledger.written if file not in gone)})
        ledger.write(out / QUEUE.marker)
    if not steps and (out / STEPS).is_dir():
        delete_files(out / STEPS, ())
    return ledger
