"""Residual information of concepts in a model, before and after edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from excise.concepts import Concept
from excise.edits import Edit
from excise.information import Measurement, PictureSet, read_pictures
from excise.information import measure as information
from excise.information.budget import least_budget
from excise.information.heat_map import heat_map_figure, save_figure
from excise.jobs.inputs import load_edited, read_edits
from excise.jobs.provenance import provenance
from excise.models import Model
from excise.progress import Progress, silent
from excise.report.plots import curves
from excise.requests.measure import MeasureRequest, declared_beside
from excise.requests.request import function


def run(request: MeasureRequest, progress: Progress = silent) -> Measurement:
    """Carry out a request that was checked."""
    edits = read_edits(request.edit)
    loaded, edits = load_edited(request, edits, progress, request.base)
    given: Mapping[str, PictureSet] = {}
    if request.pictures is not None:
        given = read_pictures(loaded, request.pictures, [*request.targets, *request.others])
    found = information(
        loaded, request.targets,
        edit=edits, against=request.others, pictures=given, budget=request.budget, seed=request.seed,
        phrasings=request.phrasings, keep=True, progress=progress,
    )  # fmt: skip
    if request.json_file is not None:
        found.model_copy(update={"provenance": provenance(loaded, edits, request.seed)}).write(
            request.json_file, overwrite=request.overwrite
        )
    _draw(request, found)
    return found


measure = function(MeasureRequest, run)


def residual(
    model: Model,
    targets: Sequence[Concept],
    edit: Edit,
    *,
    budget: int,
    seed: int = 0,
    progress: Progress = silent,
) -> Measurement:
    """What an edit left of its concepts, in nats, and what the other objects and styles that the model declares keep.

    budget  network evaluations; more are spent where that would not pay for a picture of every concept
    """
    others = declared_beside(targets, model.catalog)
    least = least_budget(targets, others, models=2, making=model.sampler.steps, given={})
    return information(
        model, targets, edit=edit, against=others, budget=max(budget, least), seed=seed, keep=True, progress=progress
    )


def _draw(request: MeasureRequest, found: Measurement) -> None:
    if request.figure is not None:
        save_figure(heat_map_figure(found), request.figure, overwrite=request.overwrite)
    if request.curves is not None and (drawn := curves(found.concepts)):
        save_figure(drawn, request.curves, overwrite=request.overwrite)
