"""Measuring a model, or what edits do to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.concepts import Concept
from excise.files import write_json
from excise.jobs.inputs import check_new_file, check_seed, erased_concepts, load_base, read_edits
from excise.jobs.provenance import provenance
from excise.models.names import describe, resolve
from excise.progress import Progress, silent

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.evaluation import Evaluation
    from excise.models import Model


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
    check_seed(seed)
    if target_pictures < 1 or other_pictures < 1:
        raise ValueError("target_pictures and other_pictures must be at least 1")
    description = describe(resolve(model))
    named = [concept] if isinstance(concept, str) else list(concept)
    targets = [description.catalog.resolve(text, kind) for text in named]
    edits = read_edits(edit)
    targets = targets or erased_concepts(edits, description.catalog)
    if not targets:
        raise ValueError("nothing to measure: give an edit, or the concept to ask the base model for")
    if description.classifier is None:
        raise ValueError(f"the model {description.name!r} brings no classifier, so nothing can be measured")
    options = None
    if quality or features != "classifier" or any((real, inception, clip, lpips)):
        from excise.evaluation.quality import QualityOptions

        options = QualityOptions(features, real, inception, clip, lpips)
    from excise.evaluation import evaluate as run

    loaded = load_base(model, edits, device, dtype)
    evaluation = run(
        loaded, targets, edits,
        seed=seed, target_pictures=target_pictures, other_pictures=other_pictures, quality=options or False, progress=progress,
    )  # fmt: skip
    if json is not None:
        write_json(Path(json), {**evaluation.to_dict(), **_about(loaded, targets, edits, seed)})
    return evaluation


def _about(model: Model, targets: Sequence[Concept], edits: Sequence[Edit], seed: int) -> dict[str, Any]:
    """What was measured, with the keys of an erasure's `result.json`; cost only of a single edit, whose manifest says it."""
    cost = edits[0].manifest.measurements if len(edits) == 1 else {}
    return {
        **provenance(model, edits, seed),
        "method": "+".join(dict.fromkeys(edit.manifest.method for edit in edits)) or None,
        "concepts": [target.label for target in targets],
        "seconds": cost.get("seconds"),
        "peak_mb": cost.get("peak_mb"),
    }
