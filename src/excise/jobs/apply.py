"""Writing a model with edits in it as a full diffusers folder, or as one file."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from excise.edits import check_weights
from excise.files import new_result, write_json, write_tensors
from excise.jobs.inputs import read_edits
from excise.jobs.model_folder import rename, write_model
from excise.models import load
from excise.models.original_layout import original_checkpoint
from excise.requests.apply import APPLIED, ApplyRequest
from excise.requests.request import function
from excise.versions import own_version


def run(request: ApplyRequest) -> Path:
    """Carry out a request that was checked; returns the folder or the file."""
    edits = read_edits(request.edit)
    check_weights(edits, "written into a model")
    loaded = load(request.model, device=request.device, dtype=request.dtype, config_from=request.config_from)
    with ExitStack() as on:
        for edit in edits:
            on.enter_context(edit.applied(loaded, request.scale))
        about = {"excise": own_version(), "scale": request.scale, "edits": [edit.manifest.model_dump() for edit in edits]}
        if request.one_file:
            tensors = original_checkpoint(loaded.pipeline)
            write_tensors(request.to, tensors, {"excise": json.dumps(about)}, overwrite=request.overwrite)
            return request.to
        with new_result(request.to, APPLIED, request.overwrite) as folder:
            write_model(loaded, {name.partition(".")[0] for edit in edits for name in edit.deltas}, folder)
            rename(folder, f"without {', '.join(name for edit in edits for name in edit.manifest.names)}")
            write_json(folder / APPLIED.marker, about)
    return request.to


apply = function(ApplyRequest, run)
