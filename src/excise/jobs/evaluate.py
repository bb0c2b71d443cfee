"""Measuring a model, or what edits do to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from excise.concepts import Concept
from excise.erasure.run import Progress, silent
from excise.files import write_json
from excise.jobs.files import check_new_file, read_edits
from excise.models.names import describe, resolve

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.evaluation import Evaluation
    from excise.evaluation.quality import QualityOptions


def evaluate(
    *,
    edit: str | Path | Sequence[str | Path] = (),
    model: str | Path = "canvas",
    concept: str | Sequence[str] = (),
    kind: str | None = None,
    seed: int = 0,
    target_pictures: int = 200,
    other_pictures: int = 24,
    quality: bool = False,
    features: str = "classifier",
    real: str | Path | None = None,
    inception: str | Path | None = None,
    clip: str | Path | None = None,
    lpips: str | Path | None = None,
    json: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> Evaluation:
    """UA, IRA, CRA and the neutral rate of the base model and, if edits are given, of the edited one.

    edit             folders of edits, measured together
    concept          what the edits erase; default what they say they erase
    target_pictures  of each erased concept
    other_pictures   of each other concept
    quality          also how much the kept concepts' pictures have changed; implied by the next five
    features         what FID and KID are measured on: classifier, inception or clip
    real             folder of real pictures to compare with as well
    inception, clip, lpips  paths of those networks' weights; CLIP also gives the CLIP score
    json             file for the measured numbers

    Raises ValueError if there is no concept or the model brings no classifier, FileExistsError if `json` is there, FileNotFoundError for
    weights or pictures that are not.
    """
    check_new_file(json, overwrite)
    if target_pictures < 1 or other_pictures < 1:
        raise ValueError("target_pictures and other_pictures must be at least 1")
    description = describe(resolve(model))
    named = [concept] if isinstance(concept, str) else list(concept)
    targets = [description.catalog.resolve(text, kind) for text in named]
    edits = read_edits(edit)
    targets = targets or [description.catalog.resolve(label) for label in _erased(edits)]
    if not targets:
        raise ValueError("nothing to measure: give an edit, or the concept to ask the base model for")
    if description.classifier is None:
        raise ValueError(f"the model {description.name!r} brings no classifier, so nothing can be measured")
    options = None
    if quality or features != "classifier" or any((real, inception, clip, lpips)):
        from excise.evaluation.quality import QualityOptions

        options = QualityOptions(features, real, inception, clip, lpips)
    evaluation = _measure(model, targets, edits, seed, target_pictures, other_pictures, options, device, dtype, progress)
    if json is not None:
        write_json(Path(json), evaluation.to_dict())
    return evaluation


def _erased(edits: Sequence[Edit]) -> list[str]:
    return list(dict.fromkeys(label for edit in edits for label in edit.manifest.names))


def _measure(
    model: str | Path, targets: Sequence[Concept], edits: Sequence[Edit], seed: int, target_pictures: int,
    other_pictures: int, quality: QualityOptions | None, device: str | None, dtype: str, progress: Progress,
) -> Evaluation:  # fmt: skip
    from excise.evaluation import evaluate
    from excise.models import load

    return evaluate(
        load(model, device=device, dtype=dtype),
        targets,
        edits,
        seed=seed,
        target_pictures=target_pictures,
        other_pictures=other_pictures,
        quality=quality or False,
        progress=progress,
    )
