"""One erasure from beginning to end: load, erase, measure, draw, write the folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.concepts import apart
from excise.edits import Edit
from excise.erasure.checkpoints import MARKER, Workplace
from excise.erasure.counterexamples import Counterexample, record
from excise.erasure.run import Run
from excise.evaluation import Classifier, evaluate
from excise.evaluation.prompt_grid import check_heads, questions
from excise.files import check_replaceable, replacing_folder, write_json, write_text
from excise.information.budget import BESIDE
from excise.information.picture_sets import plain_wordings, texts_of
from excise.jobs.harden import counterexamples
from excise.jobs.measure import residual
from excise.jobs.peak_memory import peak_mb
from excise.methods import task
from excise.models import Model, load
from excise.models.built_in import BUILT_IN
from excise.models.context import check_read, tell_cut
from excise.progress import Progress, silent
from excise.report import before_after, edit_card, result_table
from excise.requests.erase import EraseRequest
from excise.requests.request import function


@dataclass(frozen=True)
class EraseResult:
    """What an erasure gives: the edit, with everything that was measured in its manifest, and the folder that was written (or None)."""

    edit: Edit
    out: Path | None

    def to_dict(self) -> dict[str, Any]:
        """What `result.json` holds.

        ua, ira, cra, neutral and their intervals (0–1), n, base (the same of the base model); null where nothing was measured, and `note`
        says why. information: what the words still say, as `excise.measure` writes it; null where it was not measured, and
        `information_note` says why. seconds: for the erasing alone, stretches before a resume included. peak_mb: most memory in use until
        the edit was done, MiB (on a GPU what torch took, otherwise the whole process). dtype, device: what it was made in and on, as in the
        manifest.
        """
        manifest = self.edit.manifest
        run = {"seed": manifest.seed, "model": manifest.model, "method": manifest.method, "concepts": manifest.names}
        return {**manifest.measurements, **run, "dtype": manifest.dtype, "device": manifest.device}


def run(request: EraseRequest, progress: Progress = silent) -> EraseResult:
    """Carry out a request that was checked."""
    workplace = request.workplace
    with workplace.opened() if workplace else nullcontext():
        model = _load(request, progress)
        _check_prompts(request, model)
        found = counterexamples(request.audits, model)
        if _evaluable(request, model):
            _check_classifier(request, model)
        claim = workplace.claimed(_identity(request, model, found), resume=request.resume) if workplace else nullcontext(0.0)
        with claim as spent:
            edit, cost = _erased(request, model, found, workplace, progress)
            cost["seconds"] += spent
            measured = {**_evaluated(request, model, edit, progress), **_informed(request, model, edit, progress)}
            result = EraseResult(edit.with_measurements({**measured, **cost}), request.out)
            if request.out is not None:
                _write(request, model, result, request.out, progress)
    if request.json_file is not None:
        write_json(request.json_file, result.to_dict())
    return result


erase = function(EraseRequest, run)


def _load(request: EraseRequest, progress: Progress) -> Model:
    progress("loading the model", 0, 1)
    model = load(request.model, device=request.device, dtype=request.dtype)
    progress("loading the model", 1, 1)
    return model


def _check_prompts(request: EraseRequest, model: Model) -> None:
    """Raise ValueError for a concept that is longer than the model reads; warn, once for all that is done with it, of prompts that are."""
    check_read(model, request.targets)
    prompts = [text for concept in apart(request.targets) for pair in concept.pairs() for text in (pair.prompt, pair.masked)]
    if request.evaluate or request.measure:
        prompts += texts_of(wording for concept in model.catalog.concepts for wording in plain_wordings(concept))
    tell_cut(model, prompts)


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
) -> tuple[Edit, dict[str, float]]:
    """The edit, and the seconds and MiB that it took."""
    checkpoint = workplace.checkpoint if workplace else None
    began = time.perf_counter()
    edit = request.chosen.erase(model, request.targets, request.parsed, Run(request.seed, checkpoint, progress, found))
    return edit, {"seconds": time.perf_counter() - began, "peak_mb": peak_mb(model.device)}


def _evaluable(request: EraseRequest, model: Model) -> bool:
    return request.evaluate and model.classifier is not None and bool(model.catalog.concepts)


def _check_classifier(request: EraseRequest, model: Model) -> None:
    """Raise ValueError or FileNotFoundError for one that cannot measure the erasure: before it is made, not after."""
    assert model.classifier is not None
    check_heads(Classifier.load(model.classifier), questions(model, request.targets, 1, 1, request.seed), model)


def _evaluated(request: EraseRequest, model: Model, edit: Edit, progress: Progress) -> dict[str, Any]:
    """Base and edited model measured, if that is wanted and possible; nulls and a note if not."""
    if _evaluable(request, model):
        evaluation = evaluate(model, request.targets, edit, seed=request.seed, progress=progress)
        return {**evaluation.to_dict(), "note": ""}
    missing = (
        f"the model {model.name!r} brings no classifier and list of concepts"
        if request.evaluate
        else "no evaluation was asked for"
    )
    nulls = dict.fromkeys(key for measure in result_table.MEASURES for key in (measure, f"{measure}_ci"))
    return {**nulls, "n": {}, "base": dict(nulls), "note": missing}


def _informed(request: EraseRequest, model: Model, edit: Edit, progress: Progress) -> dict[str, Any]:
    """What the concepts' words still say, if that is wanted and possible; null and a note if not."""
    if request.measure and model.catalog.concepts:
        found = residual(model, request.targets, edit, budget=BESIDE, seed=request.seed, progress=progress)
        return {"information": found, "information_note": ""}
    missing = f"the model {model.name!r} brings no list of concepts" if request.measure else "it was not asked for"
    return {"information": None, "information_note": missing}


def _write(request: EraseRequest, model: Model, result: EraseResult, out: Path, progress: Progress) -> None:
    """All files of the result, all or nothing."""
    columns = before_after.panels(model.catalog, request.targets, request.seed)
    base, edited = before_after.sample(model, result.edit, columns, progress)
    sheet = before_after.draw([panel.label for panel in columns], {"base": base, "edited": edited})
    name = request.model
    shown = name if name in BUILT_IN or not Path(name).expanduser().exists() else "PATH/TO/BASE"
    text = edit_card.render(result.edit.manifest, request.chosen, result.to_dict(), model=shown, edit=out.name)
    check_replaceable(out, MARKER, request.overwrite)  # again: what appeared there meanwhile is not lost
    with replacing_folder(out) as folder:
        result.edit.write(folder)
        write_json(folder / "result.json", result.to_dict())
        write_text(folder / "README.md", text)
        sheet.save(folder / "before_after.png")
