"""Measuring a model, or what edits do to it."""

from __future__ import annotations

from collections.abc import Sequence

from excise.digests import digest_file
from excise.edits import Edit
from excise.evaluation import Evaluation, QualityOptions
from excise.evaluation import evaluate as measured
from excise.evaluation.downstream import downstream
from excise.evaluation.lpips import Lpips
from excise.evaluation.weights import find
from excise.jobs.inputs import load_edited, read_edits
from excise.jobs.provenance import provenance
from excise.models import Model
from excise.progress import Progress, silent
from excise.requests.evaluate import EvaluateRequest
from excise.requests.request import function
from excise.restoration.restorer import Restorer, read_restorer
from excise.results.downstream_result import Downstream
from excise.results.erasure import ErasureResult


def run(request: EvaluateRequest, progress: Progress = silent) -> Evaluation:
    """Carry out a request that was checked."""
    model, edits = load_edited(request, read_edits(request.edit), progress)
    restorer = read_restorer(request.restorer_file, model) if request.downstream else None
    quality = QualityOptions(request.features, request.real, request.inception, request.clip, request.lpips)
    found = measured(
        model, request.targets, edits,
        seed=request.seed, target_pictures=request.target_pictures, other_pictures=request.other_pictures,
        bystander_pictures=request.bystander_pictures, quality=quality if request.compares else False, progress=progress,
    )  # fmt: skip
    if request.downstream is not None:
        assert restorer is not None
        found = found.model_copy(update={"downstream": _downstream(request, model, edits, restorer, progress)})
    if request.json_file is not None:
        _result(request, found, model, edits).write(request.json_file, overwrite=request.overwrite)
    return found


evaluate = function(EvaluateRequest, run)


def _downstream(
    request: EvaluateRequest, model: Model, edits: Sequence[Edit], restorer: Restorer, progress: Progress
) -> Downstream:
    """The task that rides on the model, with the weights of LPIPS if they were given."""
    return downstream(
        model, restorer, request.targets, edits,
        restorer_digest=digest_file(request.restorer_file), pictures=request.downstream_pictures, seed=request.seed, real=request.real,
        lpips=Lpips(find("lpips", {"lpips": request.lpips})) if request.lpips else None, progress=progress,
    )  # fmt: skip


def _result(request: EvaluateRequest, found: Evaluation, model: Model, edits: Sequence[Edit]) -> ErasureResult:
    """As of an erasure; cost only of a single edit, whose manifest says it."""
    cost = edits[0].manifest.measurements if len(edits) == 1 else {}
    made = provenance(model, edits, request.seed)
    return ErasureResult(
        model=made.model,
        method="+".join(dict.fromkeys(edit.manifest.method for edit in edits)) or None,
        concepts=tuple(target.label for target in request.targets),
        seed=request.seed,
        dtype=made.dtype,
        device=made.device,
        seconds=cost.get("seconds"),
        peak_mb=cost.get("peak_mb"),
        evaluation=found,
        provenance=made,
    )
