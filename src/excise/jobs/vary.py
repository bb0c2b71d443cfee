"""Whether an edit holds when the concept is asked for otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from excise.files import write_json
from excise.jobs.inputs import check_new_file, check_seed, erased_concepts, load_base, read_edits
from excise.jobs.provenance import provenance
from excise.models.names import describe, resolve
from excise.progress import Progress, silent


def vary(
    edit: str | Path | Sequence[str | Path],
    *,
    model: str | Path = "canvas",
    concept: str | None = None,
    kind: str | None = None,
    pictures: int = 64,
    seed: int = 0,
    json: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> dict[str, Any]:
    """How often base and edited model show the concept under other wordings, guidance, steps, samplers, and from pictures of it.

    edit      folders of edits, measured together
    concept   default what the edits say they erase, if that is one concept
    pictures  of each condition and model
    json      file for the figures

    Returns "concept", `provenance`, and "conditions" (`evaluation.conditions.vary`). Raises ValueError if there is no
    concept or several, or the model brings no classifier, FileExistsError if `json` is there.
    """
    check_new_file(json, overwrite)
    check_seed(seed)
    if pictures < 1:
        raise ValueError("pictures must be at least 1")
    description = describe(resolve(model))
    edits = read_edits(edit)
    targets = [description.catalog.resolve(concept, kind)] if concept else erased_concepts(edits, description.catalog)
    if len(targets) != 1:
        raise ValueError(f"say which concept to ask for; the edits erase {', '.join(each.label for each in targets) or 'none'}")
    (target,) = targets
    if description.classifier is None:
        raise ValueError(f"the model {description.name!r} brings no classifier, so nothing can be measured")

    from excise.evaluation import Classifier
    from excise.evaluation.conditions import vary as run
    from excise.evaluation.detector import ClassifierDetector

    detector = ClassifierDetector(Classifier.load(description.classifier), target)
    loaded = load_base(model, edits, device, dtype)
    found = run(loaded, target, edits, detector, pictures=pictures, seed=seed, progress=progress)
    result = {"concept": target.label, **provenance(loaded, edits, seed), "conditions": found}
    if json is not None:
        write_json(Path(json), result)
    return result
