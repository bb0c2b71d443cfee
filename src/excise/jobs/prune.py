"""Writing a model without some of its blocks."""

from __future__ import annotations

from excise.edits.applied import base_fingerprint
from excise.files import new_result
from excise.jobs.model_folder import rename, write_model
from excise.models import Model, load
from excise.requests.prune import PruneRequest
from excise.requests.request import function
from excise.requests.students import STUDENT
from excise.results.student import Pruning, Source, StudentFile


def run(request: PruneRequest) -> StudentFile:
    """Carry out a request that was checked."""
    model = load(request.model, device=request.device, dtype=request.dtype, config_from=request.config_from)
    base, found = source(model), model.pruned(request.keep)
    setattr(model.pipeline, model.prefix, found.network)
    pruning = Pruning(
        base=base, keep=request.keep, removed=found.removed, parameters_before=found.before, parameters=found.after
    )
    ending = f"pruned to {100 * found.share:.0f} %"
    about = StudentFile(model=Source(model=f"{model.name} {ending}", fingerprint=base_fingerprint(model)), pruning=pruning)
    with new_result(request.out, STUDENT, request.overwrite) as folder:
        write_model(model, {model.prefix}, folder)
        rename(folder, ending)
        about.write(folder / STUDENT.marker)
    return about


prune = function(PruneRequest, run)


def source(model: Model) -> Source:
    """A model by name and fingerprint."""
    return Source(model=model.name, fingerprint=base_fingerprint(model))
