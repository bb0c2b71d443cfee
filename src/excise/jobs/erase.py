"""One erasure from beginning to end: check, load, erase, measure, draw, write the folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.concepts import Concept, apart
from excise.erasure.counterexamples import Counterexample, record
from excise.erasure.run import Run
from excise.files import check_replaceable, replacing_folder, write_json, write_text
from excise.jobs.checkpoints import MARKER, Workplace
from excise.jobs.harden import Audited, counterexamples, read_audits
from excise.jobs.inputs import check_new_file
from excise.jobs.peak_memory import peak_mb
from excise.jobs.request import EraseRequest
from excise.methods import Method, get, methods, task
from excise.models.built_in import BUILT_IN
from excise.models.context import check_read, tell_cut
from excise.models.names import Description, describe, resolve
from excise.progress import Progress, silent
from excise.report import edit_card, result_table
from excise.settings import Settings, parse

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.models import Model


@dataclass(frozen=True)
class Plan:
    """A request whose names are resolved and whose settings are checked; nothing is loaded yet."""

    request: EraseRequest
    model: Description
    concepts: tuple[Concept, ...]
    method: Method
    settings: Settings
    audits: tuple[Audited, ...] = ()


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


def erase(
    concepts: str | Sequence[str],
    *,
    kind: str | None = None,
    also: Sequence[str] = (),
    model: str | Path = "canvas",
    method: str = "mim",
    harden: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    evaluate: bool = True,
    measure: bool = True,
    device: str | None = None,
    dtype: str = "float32",
    json: str | Path | None = None,
    progress: Progress = silent,
) -> EraseResult:
    """Erase concepts from a model, measure what that did, and write the result's folder.

    concepts   "cat", "style:sketch", "member:owl", ...; free text for models without a list of concepts
    kind       what they are, where neither the text nor the model says so
    also       further phrases that name the concept (one concept only)
    harden     folders of audits of earlier edits: the prompts and embeddings that showed the concept are erased too
    out        folder for edit.safetensors, edit.json, result.json, README.md and before_after.png; None writes nothing
    settings   of the method; `preset=NAME` chooses a published set
    resume     go on with the run that was stopped; on the CPU, with as many threads, to the same bits
    overwrite  replace an earlier result, or start anew where a run was stopped
    evaluate   measure base and edited model, if the model brings a classifier
    measure    measure what the words still say, in nats, and what other words lost, if the model brings a list of concepts
    json       file for the measured numbers
    progress   called with (stage, done, total)

    Raises ValueError, TypeError, FileNotFoundError or FileExistsError for bad input before any weight is loaded where that can be known;
    FloatingPointError if the method diverges; OSError if a file cannot be written.
    """
    values: dict[str, Any] = {
        "concepts": concepts, "kind": kind, "also": also, "model": str(model), "method": method, "harden": harden, "out": out,
        "seed": seed, "settings": dict(settings or {}), "resume": resume, "overwrite": overwrite, "evaluate": evaluate,
        "measure": measure, "device": device, "dtype": dtype,
    }  # fmt: skip
    plan = make_plan(parse(EraseRequest, values, "option"))
    check_new_file(json, overwrite)
    result = run(plan, progress)
    if json is not None:
        write_json(Path(json), result.to_dict())
    return result


def make_plan(request: EraseRequest) -> Plan:
    """Resolve names and check everything that can be checked without loading weights (no torch).

    Raises ValueError, FileNotFoundError or FileExistsError.
    """
    if not request.concepts:
        raise ValueError("name at least one concept to erase, for example: cat")
    if request.also and len(request.concepts) > 1:
        raise ValueError("also names one concept in other words; give it with one concept at a time")
    if request.resume and request.out is None:
        raise ValueError("resume needs out: the checkpoint lies beside the result's folder")
    model = describe(resolve(request.model))
    concepts = tuple(model.catalog.resolve(text, request.kind, request.also) for text in request.concepts)
    labels = [concept.label for concept in concepts]
    if len(set(labels)) < len(labels):
        raise ValueError(f"a concept is named twice: {', '.join(labels)}")
    method = get(request.method)
    settings = method.parse(request.settings)
    if request.harden and not method.hardens:
        able = ", ".join(name for name, other in methods().items() if other.hardens)
        raise ValueError(f"method {method.name!r} takes no audit to harden against; those that do: {able}")
    audits = read_audits(request.harden, concepts)
    if request.out is not None:
        Workplace(request.out).check(resume=request.resume, overwrite=request.overwrite)
    return Plan(request, model, concepts, method, settings, audits)


def run(plan: Plan, progress: Progress = silent) -> EraseResult:
    """Carry out a plan."""
    request = plan.request
    workplace = Workplace(request.out) if request.out is not None else None
    with workplace.opened() if workplace else nullcontext():
        model = _load(plan, progress)
        _check_prompts(plan, model)
        found = counterexamples(plan.audits, model)
        if _evaluable(plan, model):
            _check_classifier(plan, model)
        claim = workplace.claimed(_identity(plan, model, found), resume=request.resume) if workplace else nullcontext(0.0)
        with claim as spent:
            edit, cost = _erased(plan, model, found, workplace, progress)
            cost["seconds"] += spent
            measured = {**_evaluated(plan, model, edit, progress), **_informed(plan, model, edit, progress)}
            result = EraseResult(edit.with_measurements({**measured, **cost}), request.out)
            if request.out is not None:
                _write(plan, model, result, request.out, progress)
    return result


def _load(plan: Plan, progress: Progress) -> Model:
    from excise.models import load

    progress("loading the model", 0, 1)
    model = load(plan.request.model, device=plan.request.device, dtype=plan.request.dtype)
    progress("loading the model", 1, 1)
    return model


def _check_prompts(plan: Plan, model: Model) -> None:
    """Raise ValueError for a concept that is longer than the model reads; warn, once for all that is done with it, of prompts that are."""
    from excise.information.picture_sets import plain_wordings, texts_of

    check_read(model, plan.concepts)
    prompts = [text for concept in apart(plan.concepts) for pair in concept.pairs() for text in (pair.prompt, pair.masked)]
    if plan.request.evaluate or plan.request.measure:
        prompts += texts_of(wording for concept in model.catalog.concepts for wording in plain_wordings(concept))
    tell_cut(model, prompts)


def _identity(plan: Plan, model: Model, found: Sequence[Counterexample]) -> dict[str, Any]:
    """What must be the same for a run to go on to the same bits."""
    return {
        **task(plan.method.name, model, plan.concepts),
        "settings": plan.settings.model_dump(),
        "seed": plan.request.seed,
        "hardened": record(found),
    }


def _erased(
    plan: Plan, model: Model, found: tuple[Counterexample, ...], workplace: Workplace | None, progress: Progress
) -> tuple[Edit, dict[str, float]]:
    """The edit, and the seconds and MiB that it took."""
    checkpoint = workplace.checkpoint if workplace else None
    began = time.perf_counter()
    edit = plan.method.erase(model, plan.concepts, plan.settings, Run(plan.request.seed, checkpoint, progress, found))
    return edit, {"seconds": time.perf_counter() - began, "peak_mb": peak_mb(model.device)}


def _evaluable(plan: Plan, model: Model) -> bool:
    return plan.request.evaluate and model.classifier is not None and bool(model.catalog.concepts)


def _check_classifier(plan: Plan, model: Model) -> None:
    """Raise ValueError or FileNotFoundError for one that cannot measure the erasure: before it is made, not after."""
    from excise.evaluation.classifier import Classifier
    from excise.evaluation.prompt_grid import check_heads, questions

    assert model.classifier is not None
    check_heads(Classifier.load(model.classifier), questions(model, plan.concepts, 1, 1, plan.request.seed), model)


def _evaluated(plan: Plan, model: Model, edit: Edit, progress: Progress) -> dict[str, Any]:
    """Base and edited model measured, if that is wanted and possible; nulls and a note if not."""
    if _evaluable(plan, model):
        from excise.evaluation import evaluate

        evaluation = evaluate(model, plan.concepts, edit, seed=plan.request.seed, progress=progress)
        return {**evaluation.to_dict(), "note": ""}
    missing = (
        f"the model {model.name!r} brings no classifier and list of concepts"
        if plan.request.evaluate
        else "no evaluation was asked for"
    )
    nulls = dict.fromkeys(key for measure in result_table.MEASURES for key in (measure, f"{measure}_ci"))
    return {**nulls, "n": {}, "base": dict(nulls), "note": missing}


def _informed(plan: Plan, model: Model, edit: Edit, progress: Progress) -> dict[str, Any]:
    """What the concepts' words still say, if that is wanted and possible; null and a note if not."""
    if plan.request.measure and model.catalog.concepts:
        from excise.jobs.measure import BESIDE, residual

        found = residual(model, plan.concepts, edit, budget=BESIDE, seed=plan.request.seed, progress=progress)
        return {"information": found, "information_note": ""}
    missing = f"the model {model.name!r} brings no list of concepts" if plan.request.measure else "it was not asked for"
    return {"information": None, "information_note": missing}


def _write(plan: Plan, model: Model, result: EraseResult, out: Path, progress: Progress) -> None:
    """All files of the result, all or nothing."""
    from excise.report import before_after

    columns = before_after.panels(model.catalog, plan.concepts, plan.request.seed)
    base, edited = before_after.sample(model, result.edit, columns, progress)
    sheet = before_after.draw([panel.label for panel in columns], {"base": base, "edited": edited})
    name = plan.request.model
    shown = name if name in BUILT_IN or not Path(name).expanduser().exists() else "PATH/TO/BASE"
    text = edit_card.render(result.edit.manifest, plan.method, result.to_dict(), model=shown, edit=out.name)
    check_replaceable(out, MARKER, plan.request.overwrite)  # again: what appeared there meanwhile is not lost
    with replacing_folder(out) as folder:
        result.edit.write(folder)
        write_json(folder / "result.json", result.to_dict())
        write_text(folder / "README.md", text)
        sheet.save(folder / "before_after.png")
