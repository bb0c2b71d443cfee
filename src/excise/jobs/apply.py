"""Writing a model with edits in it as a full diffusers folder, or as one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from excise.edits import Edit, check_weights
from excise.files import copy_file, new_result, read_json, write_json, write_tensors
from excise.jobs.inputs import read_edits
from excise.models import Model, load
from excise.models.contents import model_files
from excise.models.original_layout import original_checkpoint
from excise.requests.apply import APPLIED, ApplyRequest
from excise.requests.request import function

_WEIGHTS = ("*.safetensors", "*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.index.json", "*.gguf")


def run(request: ApplyRequest) -> Path:
    """Carry out a request that was checked; returns the folder or the file."""
    edits = read_edits(request.edit)
    check_weights(edits, "written into a model")
    loaded = load(request.model, device=request.device, dtype=request.dtype, config_from=request.config_from)
    with ExitStack() as on:
        for edit in edits:
            on.enter_context(edit.applied(loaded, request.scale))
        about = {"scale": request.scale, "edits": [edit.manifest.model_dump() for edit in edits]}
        if request.one_file:
            tensors = original_checkpoint(loaded.pipeline)
            write_tensors(request.to, tensors, {"excise": json.dumps(about)}, overwrite=request.overwrite)
            return request.to
        with new_result(request.to, APPLIED, request.overwrite) as folder:
            _write(loaded, edits, folder)
            write_json(folder / APPLIED.marker, about)
    return request.to


apply = function(ApplyRequest, run)


def _write(model: Model, edits: Sequence[Edit], folder: Path) -> None:
    if model.folder is None:
        model.pipeline.save_pretrained(folder)
        return
    changed = {name.partition(".")[0] for edit in edits for name in edit.deltas}
    for name, file in model_files(model.folder).items():
        if not _rewritten(PurePosixPath(name), changed):
            copy_file(file, folder / name)
    for part in changed:
        getattr(model.pipeline, part).save_pretrained(folder / part)
    _rename(folder / "excise.json", edits)


def _rewritten(name: PurePosixPath, changed: set[str]) -> bool:
    """Whether a file holds weights of a changed network."""
    return name.parts[0] in changed and any(fnmatch(name.name, pattern) for pattern in _WEIGHTS)


def _rename(path: Path, edits: Sequence[Edit]) -> None:
    """Let the copy's description say what is not in it."""
    if path.is_file():
        description = read_json(path)
        missing = ", ".join(name for edit in edits for name in edit.manifest.names)
        write_json(path, {**description, "name": f"{description['name']} without {missing}"})
