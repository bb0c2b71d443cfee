"""One erasure from beginning to end: load, erase, draw, measure, write the folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from excise.edits import Edit
from excise.edits.manifest import EDIT
from excise.erasure.checkpoints import Workplace
from excise.erasure.counterexamples import Counterexample, record
from excise.erasure.run import Run
from excise.evaluation import Classifier, evaluate
from excise.evaluation.picture_counts import ASKED_FOR, NOT_ASKED
from excise.evaluation.prompt_grid import check_heads, questions
from excise.files import at_home, new_result, replacing, write_text
from excise.jobs.harden import counterexamples
from excise.jobs.inputs import load_wanted, measured_soon, tell_prompts
from excise.jobs.measure import residual
from excise.jobs.memory import warn_if_short
from excise.jobs.peak_memory import peak_mb
from excise.jobs.together import together
from excise.methods import task
from excise.models import Model
from excise.models.built_in import BUILT_IN
from excise.models.context import check_read
from excise.progress import Progress, silent
from excise.report import before_after, edit_card
from excise.requests.erase import EraseRequest
from excise.requests.request import function
from excise.results.erasure import ErasureResult
from excise.results.evaluation import Evaluation
from excise.results.information import Measurement


@dataclass(frozen=True)
class Erasure:
    """What an erasure gives: the edit, what was measured of it (in its manifest too), and the folder that was written (or None)."""

    edit: Edit
    result: ErasureResult
    out: Path | None


def run(request: EraseRequest, progress: Progress = silent) -> Erasure:
    """Carry out a request that was checked."""
    if request.devices:
        request = request.model_copy(update={"device": request.devices[0]})
    workplace = request.workplace
    with workplace.opened() if workplace else nullcontext():
        model = _load(request, progress)
        _check_prompts(request, model)
        found = counterexamples(request.audits, model)
        if _evaluable(request, model):
            _check_classifier(request, model)
        claim = workplace.claimed(_identity(request, model, found), resume=request.resume) if workplace else nullcontext(0.0)
        with claim as spent:
            edit, seconds, peak = _erased(request, model, found, workplace, progress)
            sheet = _shown(request, model, edit, workplace, progress) if workplace else None
            result = _measured(request, model, edit, seconds + spent, peak, progress)
            manifest = edit.manifest.model_copy(update={"measurements": result.to_dict()})
            made = Erasure(edit.with_manifest(manifest), result, request.out)
            if request.out is not None and sheet is not None:
                _write(request, made, sheet, request.out)
    if request.json_file is not None:
        result.write(request.json_file, overwrite=request.overwrite)
    return made


erase = function(EraseRequest, run)


def _load(request: EraseRequest, progress: Progress) -> Model:
    progress("loading the model", 0, 1)
    warn_if_short(request)
    model = load_wanted(request)
    if request.low_memory:
        model.recompute()
    progress("loading the model", 1, 1)
    return model


def _check_prompts(request: EraseRequest, model: Model) -> None:
    """Raise ValueError for a concept that is longer than the model reads; warn of prompts that are."""
    check_read(model, request.targets)
    tell_prompts(model, request.targets, others=request.evaluate != "none")


def _identity(request: EraseRequest, model: Model, found: Sequence[Counterexample]) -> dict[str, Any]:
    """What must be the same for a run to go on to the same bits."""
    return {
        **task(request.method, model, request.targets),
        "settings": request.parsed.model_dump(),
        "seed": request.seed,
        "hardened": record(found),
    }


def _erased(
    request: EraseRequest, model: Model, found: tuple[Counterexample, ...], workplace: Workplace | None, progress: Progress
) -> tuple[Edit, float, float]:
    """The edit, and the seconds and MiB that it took."""
    checkpoint = workplace.checkpoint if workplace else None
    began = time.perf_counter()
    with together(request, model) as team:
        run = Run(request.seed, checkpoint, progress, found, team=team)
        edit = request.chosen.erase(model, request.targets, request.parsed, run)
    return edit, time.perf_counter() - began, peak_mb(model.device)


def _shown(request: EraseRequest, model: Model, edit: Edit, workplace: Workplace, progress: Progress) -> Image:
    """The picture of before and after; it lies in the work folder while the rest is measured."""
    sheet = before_after.sheet(model, edit, request.targets, request.seed, progress)
    with replacing(workplace.picture, overwrite=True) as temporary:
        sheet.save(temporary, format="PNG")
    return sheet


def _evaluable(request: EraseRequest, model: Model) -> bool:
    return request.evaluate != "none" and model.classifier is not None and bool(model.catalog.concepts)


def _check_classifier(request: EraseRequest, model: Model) -> None:
    """Raise ValueError or FileNotFoundError for one that cannot measure the erasure: before it is made, not after."""
    assert model.classifier is not None
    asked = questions(model, request.targets, 1, 1, request.seed, len(model.bystanders))
    check_heads(Classifier.load(model.classifier), asked, model)


def _measured(
    request: EraseRequest, model: Model, edit: Edit, seconds: float, peak: float, progress: Progress
) -> ErasureResult:
    """What was measured of the edit and what it took."""
    manifest = edit.manifest
    evaluation, note = _evaluated(request, model, edit, progress)
    information, information_note = _informed(request, model, edit, progress)
    return ErasureResult(
        model=manifest.model,
        method=manifest.method,
        concepts=tuple(manifest.names),
        seed=manifest.seed,
        dtype=manifest.dtype,
        device=manifest.device,
        seconds=seconds,
        peak_mb=peak,
        extent=None if request.evaluate == "none" else request.evaluate,
        evaluation=evaluation,
        note=note,
        information=information,
        information_note=information_note,
        told=manifest.measurements,
    )


def _evaluated(request: EraseRequest, model: Model, edit: Edit, progress: Progress) -> tuple[Evaluation | None, str]:
    """Base and edited model measured, if that is wanted and possible; a note if not."""
    if _evaluable(request, model):
        asked = ASKED_FOR[request.evaluate]
        with measured_soon(request, model, request.evaluate):
            return evaluate(
                model, request.targets, edit,
                seed=request.seed, target_pictures=asked.target, other_pictures=asked.other, bystander_pictures=asked.bystanders,
                progress=progress,
            ), ""  # fmt: skip
    if request.evaluate == "none":
        return None, NOT_ASKED
    return None, f"the model {model.name!r} brings no classifier and list of concepts"


def _informed(request: EraseRequest, model: Model, edit: Edit, progress: Progress) -> tuple[Measurement | None, str]:
    """What the concepts' words still say, if that is wanted and possible; a note if not."""
    if request.evaluate == "none":
        return None, NOT_ASKED
    if not model.catalog.concepts:
        return None, f"the model {model.name!r} brings no list of concepts"
    budget = ASKED_FOR[request.evaluate].budget
    with measured_soon(request, model, request.evaluate):
        return residual(model, request.targets, edit, budget=budget, seed=request.seed, progress=progress).brief(), ""


def _write(request: EraseRequest, made: Erasure, sheet: Image, out: Path) -> None:
    """All files of the result, all or nothing."""
    name = request.model
    shown = name if name in BUILT_IN or not at_home(name).exists() else "PATH/TO/BASE"
    text = edit_card.render(made.edit.manifest, request.chosen, made.result, model=shown, edit=out.name)
    with new_result(out, EDIT, request.overwrite) as folder:
        made.edit.write(folder)
        made.result.write(folder / "result.json")
        write_text(folder / "README.md", text)
        sheet.save(folder / "before_after.png")
