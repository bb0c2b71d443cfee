"""A published protocol on a model, before and after edits: make what is missing of two answer sets, score both, write the result."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from excise.edits import Edit
from excise.edits.applied import base_fingerprint
from excise.evaluation.suites import Suite
from excise.evaluation.suites.answer_set import AnswerSet, prompts_digest
from excise.evaluation.suites.prompt_file import PromptItem
from excise.evaluation.suites.score import Score
from excise.jobs.inputs import load_edited, read_edits
from excise.jobs.provenance import identity
from excise.models import Model
from excise.models.fingerprint import config, surroundings
from excise.progress import Progress, silent
from excise.requests.request import function
from excise.requests.suite import RESULT, SuiteRequest
from excise.results.suite_result import Metrics, SeedSpan, SuiteFigures, SuiteResult, SuiteTimings
from excise.settings import Settings
from excise.versions import own_version, versions


def run(request: SuiteRequest, progress: Progress = silent) -> SuiteResult:
    """Carry out a request that was checked."""
    edits, again = read_edits(request.edit), (request.out / RESULT).exists()
    tools = request.chosen.tools(request.parsed, request.weights)
    if request.pictures is None:
        loaded, edits = load_edited(request, edits, progress)
        result = measure(
            request.chosen, request.parsed, tools, loaded, edits,
            out=request.out, base=request.base, allow_partial=request.allow_partial, progress=progress,
        )  # fmt: skip
    else:
        result = _made_elsewhere(request, request.pictures, tools, progress)
    result.write(request.out / RESULT, overwrite=again)
    return result


suite = function(SuiteRequest, run)


def _made_elsewhere(request: SuiteRequest, pictures: Path, tools: Any, progress: Progress) -> SuiteResult:
    """The result of pictures that no model of ours made."""
    began, items = time.perf_counter(), request.chosen.items(request.parsed)
    sets = {"base": AnswerSet.adopt(request.base, items)} if request.base is not None else {}
    sets["edited"] = AnswerSet.adopt(pictures, items)
    return _result(request.chosen, request.parsed, tools, sets, (), began, progress, request.allow_partial)


def measure(
    chosen: Suite,
    settings: Settings,
    tools: Any,
    model: Model,
    edits: Sequence[Edit],
    *,
    out: Path,
    base: str | Path | None = None,
    allow_partial: bool = False,
    progress: Progress = silent,
) -> SuiteResult:
    """What `suite` writes of a loaded model and edits that need no files; the pictures go to `out`, no result is written."""
    began, items = time.perf_counter(), chosen.items(settings)
    sets = {"base": make_answers(chosen, items, model, (), out / "base" if base is None else Path(base), progress)}
    if edits:
        sets["edited"] = make_answers(chosen, items, model, edits, out / "edited", progress)
    return _result(chosen, settings, tools, sets, edits, began, progress, allow_partial)


def make_answers(
    chosen: Suite, items: Sequence[PromptItem], model: Model, edits: Sequence[Edit], folder: Path, progress: Progress
) -> AnswerSet:
    """The complete answer set of a model with edits on it; what a stopped run left is gone on with."""
    answers = AnswerSet.open(folder, items, _about(chosen, model, edits))
    answers.drop_lost()
    answers.generate(model, edits, progress, stage=f"{'edited' if edits else 'base'} pictures")
    return answers


def _result(
    chosen: Suite, settings: Settings, tools: Any, sets: Mapping[str, AnswerSet], edits: Sequence[Edit], began: float,
    progress: Progress, allow_partial: bool,
) -> SuiteResult:  # fmt: skip
    """Everything that makes the figures of what was made since `began`."""
    made = time.perf_counter()
    scores = {
        part: chosen.score(
            settings, tools, answers, sets.get("base") if part == "edited" else None, progress, allow_partial=allow_partial
        )
        for part, answers in sets.items()
    }
    timings = SuiteTimings(gen_s=made - began, eval_s=time.perf_counter() - made)
    return _record(chosen, settings, sets, scores, edits, timings)


def _about(chosen: Suite, model: Model, edits: Sequence[Edit]) -> dict[str, Any]:
    """What decides the pictures of a set."""
    scheduler = model.pipeline.scheduler
    return {
        "suite": chosen.name,
        "model": model.name,
        "base": base_fingerprint(model),
        **surroundings(model),
        "edits": [identity(edit).model_dump(mode="json") for edit in edits],
        "sampler": {"scheduler": type(scheduler).__name__, "config": config(scheduler), **vars(model.sampler), "eta": 0.0},
        "dtype": model.precision,
        "rng": "per_image",
        "image_format": "PNG",
        "versions": versions(),
    }


def _record(
    chosen: Suite, settings: Settings, sets: Mapping[str, AnswerSet], scores: Mapping[str, Score], edits: Sequence[Edit],
    timings: SuiteTimings,
) -> SuiteResult:  # fmt: skip
    """Figures of both sets, their difference, and what makes them."""
    last = "edited" if "edited" in sets else "base"
    answers, about = sets[last], scores[last].about
    partial = {part: found.share for part, found in sets.items() if found.missing}
    seeds = [item.seed for item in answers.items]
    metrics = {part: score.figures for part, score in scores.items()}
    return SuiteResult(
        toolkit_version=own_version(),
        protocol=chosen.name,
        source=chosen.source,
        settings=settings.model_dump(mode="json"),
        prompts_hash=prompts_digest(answers.items),
        n_images=len(answers.items),
        partial=partial or None,
        seeds=SeedSpan(lowest=min(seeds), highest=max(seeds), different=len(set(seeds))),
        base_model={key: answers.about.get(key) for key in ("model", "base", "dtype")},
        sampler=answers.about.get("sampler"),
        rng=answers.about.get("rng", "made elsewhere"),
        image_format=answers.about.get("image_format", "made elsewhere"),
        scored_by=dict(about),
        metrics=Metrics(**metrics),
        difference=_difference(metrics),
        detail={part: dict(score.detail) for part, score in scores.items()},
        hardware=platform.machine(),
        warnings=tuple(_warnings(scores[last], "base" in sets, partial)),
        method=tuple(identity(edit) for edit in edits) or None,
        timings=timings,
    )


def _warnings(score: Score, beside_base: bool, partial: Mapping[str, str]) -> list[str]:
    """What keeps the figures from being compared with published ones."""
    found = list(score.warnings)
    if not beside_base:
        found.append("the base model was not scored")
    found += [f"only {share} of the {part} pictures were there" for part, share in partial.items()]
    return found + [f"{name} is not the published file" for name in _unpublished(score.about)]


def _difference(metrics: Mapping[str, SuiteFigures]) -> dict[str, float] | None:
    """Edited - base, of what was measured of both."""
    if set(metrics) != {"base", "edited"}:
        return None
    pairs = [(name, metrics["base"].get(name), figure) for name, figure in metrics["edited"].items()]
    return {name: new.value - old.value for name, old, new in pairs if old is not None and new is not None}


def _unpublished(about: Mapping[str, Any]) -> list[str]:
    """Names of weights whose published digest is known and another."""
    weights = about.get("weights") or {}
    return [name for name, found in weights.items() if found.get("published") is False]
