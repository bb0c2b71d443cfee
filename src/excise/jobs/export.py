"""Edits in a form that other programs load."""

from __future__ import annotations

import json

from excise.edits import check_weights, compose
from excise.edits.lora import LoRA
from excise.files import write_tensors
from excise.jobs.inputs import read_edits
from excise.requests.export import ExportRequest
from excise.requests.request import function
from excise.versions import own_version


def run(request: ExportRequest) -> LoRA:
    """Carry out a request that was checked; returns what is in the file."""
    edits = read_edits(request.edit)
    check_weights(edits, "written as a LoRA")
    whole = edits[0] if len(edits) == 1 else compose(edits)
    manifest = whole.manifest
    lora = LoRA.of(whole.scaled(request.scale), request.rank, request.dialect)
    about = {
        "excise": own_version(), "model": manifest.model, "base": manifest.base, "method": manifest.method, "concepts": manifest.names,
        "scale": request.scale, "dialect": lora.dialect, "edits": [one.manifest.weights_sha256 for one in edits], "error": lora.error,
    }  # fmt: skip
    write_tensors(request.to, lora.tensors, {"excise": json.dumps(about)}, overwrite=request.overwrite)
    return lora


export = function(ExportRequest, run)
