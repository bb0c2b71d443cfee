"""A model that was erased elsewhere, as an edit of its base."""

from __future__ import annotations

from excise.edits import Edit
from excise.jobs.inputs import difference
from excise.models import load
from excise.progress import Progress, silent
from excise.requests.diff import DiffRequest
from excise.requests.request import function


def run(request: DiffRequest, progress: Progress = silent) -> Edit:
    """Carry out a request that was checked; returns the edit that was written."""
    progress("loading the models", 0, 1)
    base = load(request.base, device=request.device, dtype=request.dtype)
    edit = difference(base, request.erased, request.device, request.dtype, request.targets)
    progress("loading the models", 1, 1)
    edit.save_pretrained(request.out, overwrite=request.overwrite)
    return edit


diff = function(DiffRequest, run)
