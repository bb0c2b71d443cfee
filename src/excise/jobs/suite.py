"""A published protocol on a model, before and after edits: make what is missing of two answer sets, score both, write the result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.evaluation.suites import Suite, get
from excise.evaluation.suites.answer_set import AnswerSet, prompts_digest
from excise.evaluation.suites.figures import Score
from excise.evaluation.suites.prompt_file import PromptItem
from excise.evaluation.weights import check_names
from excise.files import write_json
from excise.jobs.inputs import load_base, read_edits
from excise.jobs.provenance import identity
from excise.models.names import resolve
from excise.progress import Progress, silent
from excise.report import suite_table
from excise.settings import Settings

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.models import Model

RESULT = "result.json"


def suite(
    name: str,
    *,
    out: str | Path,
    model: str | Path = "canvas",
    edit: str | Path | Sequence[str | Path] = (),
    settings: Mapping[str, Any] | None = None,
    weights: Mapping[str, str | Path] | None = None,
    base: str | Path | None = None,
    pictures: str | Path | None = None,
    allow_partial: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run a suite and write `out/result.json`; a run that was stopped makes only the pictures that are missing.

    out           folder for the answer sets (`base` and `edited`) and the result
    model, edit   what is measured, before and after; without an edit the model alone
    settings      of the suite, by name
    weights       paths of the networks that it scores with, by name; see `excise suite list`
    base          answer set of the base model that is there already; default out/base
    pictures      score this folder of pictures made elsewhere instead of making any; `base` may name the base model's
    allow_partial score what is there of an incomplete set; the result says so

    Returns what the file holds. Raises ValueError, MissingWeightsError or FileNotFoundError for bad input before a picture is made,
    IncompleteSetError if pictures are missing in the end.
    """
    chosen, paths = get(name), dict(weights or {})
    check_names(paths)
    parsed = chosen.parse(settings or {})
    items = chosen.items(parsed)
    edits = read_edits(edit)
    _check_own(Path(out) / RESULT)
    if pictures is not None and edits:
        raise ValueError("give pictures that were made elsewhere, or an edit to make them with, not both")
    where = resolve(model) if pictures is None else None
    tools = chosen.tools(parsed, paths)
    if where is not None:
        loaded = load_base(where, edits, device, dtype)
        result = measure(
            chosen, parsed, tools, loaded, edits, out=Path(out), base=base, allow_partial=allow_partial, progress=progress
        )
    else:
        began = time.perf_counter()
        sets = {"base": AnswerSet.adopt(base, items)} if base is not None else {}
        sets["edited"] = AnswerSet.adopt(pictures or "", items)
        result = _result(chosen, parsed, tools, sets, (), began, progress, allow_partial)
    write_json(Path(out) / RESULT, result)
    return result


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
) -> dict[str, Any]:
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
) -> dict[str, Any]:  # fmt: skip
    made = time.perf_counter() - began
    result = _score(chosen, settings, tools, sets, progress, allow_partial)
    result["method"] = [identity(e) for e in edits] or None
    result["timings"] = {"gen_s": made, "eval_s": time.perf_counter() - began - made}
    return result


def _check_own(path: Path) -> None:
    """Raise FileExistsError if the result would take the place of something else's, such as an erasure's."""
    if path.exists():
        try:
            suite_table.read(path)
        except ValueError as error:
            raise FileExistsError(f"{error}; choose another folder") from None


def _about(chosen: Suite, model: Model, edits: Sequence[Edit]) -> dict[str, Any]:
    """What decides the pictures of a set."""
    from excise.edits.applied import base_fingerprint
    from excise.models.fingerprint import config, surroundings
    from excise.versions import versions

    scheduler = model.pipeline.scheduler
    return {
        "suite": chosen.name,
        "model": model.name,
        "base": base_fingerprint(model),
        **surroundings(model),
        "edits": [identity(edit) for edit in edits],
        "sampler": {"scheduler": type(scheduler).__name__, "config": config(scheduler), **vars(model.sampler), "eta": 0.0},
        "dtype": model.precision,
        "rng": "per_image",
        "image_format": "PNG",
        "versions": versions(),
    }


def _score(
    chosen: Suite, settings: Settings, tools: Any, sets: Mapping[str, AnswerSet], progress: Progress, allow_partial: bool
) -> dict[str, Any]:
    """The result record: figures of both sets, their difference, and what makes them."""
    import platform

    from excise import __version__

    scores = {
        part: chosen.score(
            settings, tools, answers, sets.get("base") if part == "edited" else None, progress, allow_partial=allow_partial
        )
        for part, answers in sets.items()
    }
    last = scores[part := "edited" if "edited" in sets else "base"]
    answers = sets[part]
    warnings = list(last.warnings)
    if "base" not in sets:
        warnings.append("the base model was not scored")
    partial = {part: found.share for part, found in sets.items() if found.missing}
    warnings += [f"only {share} of the {part} pictures were there" for part, share in partial.items()]
    warnings += [f"{name} is not the published file" for name in _unpublished(last.about)]
    return {
        "toolkit_version": __version__,
        "protocol": chosen.name,
        "source": chosen.source,
        "settings": settings.model_dump(mode="json"),
        "prompts_hash": prompts_digest(answers.items),
        "n_images": len(answers.items),
        "partial": partial or None,
        "seeds": _span([item.seed for item in answers.items]),
        "base_model": {key: answers.about.get(key) for key in ("model", "base", "dtype")},
        "sampler": answers.about.get("sampler"),
        "rng": answers.about.get("rng", "made elsewhere"),
        "image_format": answers.about.get("image_format", "made elsewhere"),
        "scored_by": dict(last.about),
        "metrics": {part: {name: figure.to_dict() for name, figure in score.figures.items()} for part, score in scores.items()},
        "difference": _difference(scores),
        "detail": {part: dict(score.detail) for part, score in scores.items()},
        "hardware": platform.machine(),
        "warnings": warnings,
    }


def _difference(scores: Mapping[str, Score]) -> dict[str, float] | None:
    """Edited - base, of what was measured of both."""
    if set(scores) != {"base", "edited"}:
        return None
    before, after = scores["base"].figures, scores["edited"].figures
    found = {}
    for name in after:
        old, new = before[name].value if name in before else None, after[name].value
        if old is not None and new is not None:
            found[name] = new - old
    return found


def _unpublished(about: Mapping[str, Any]) -> list[str]:
    """Names of weights whose published digest is known and another."""
    weights = about.get("weights") or {}
    return [name for name, found in weights.items() if found.get("published") is False]


def _span(seeds: Sequence[int]) -> dict[str, int]:
    return {"lowest": min(seeds), "highest": max(seeds), "different": len(set(seeds))}
