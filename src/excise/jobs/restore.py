"""Giving erased concepts back: an edit's folder without its part of them."""

from __future__ import annotations

from excise.edits import Edit, load_edit, restored
from excise.requests.request import function
from excise.requests.restore import RestoreRequest


def run(request: RestoreRequest) -> Edit:
    """Carry out a request that was checked; returns the edit of what stays erased."""
    left = restored(load_edit(request.edit), list(request.concept))
    left.save_pretrained(request.out, overwrite=request.overwrite)
    return left


restore = function(RestoreRequest, run)
