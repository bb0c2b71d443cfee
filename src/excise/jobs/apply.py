"""Writing a model with edits in it as a full diffusers folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from excise.edits import Edit, check_weights
from excise.files import read_json, replacing_folder, write_json
from excise.jobs.inputs import read_edits
from excise.models import Model, load
from excise.requests.apply import MARKER, ApplyRequest
from excise.requests.request import function

_WEIGHTS = ("*.safetensors", "*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.index.json", "*.gguf")


def run(request: ApplyRequest) -> Path:
    """Carry out a request that was checked; returns the folder."""
    edits = read_edits(request.edit)
    check_weights(edits, "written into a model")
    loaded = load(request.model, device=request.device, dtype=request.dtype)
    with ExitStack() as on:
        for edit in edits:
            on.enter_context(edit.applied(loaded, request.scale))
        with replacing_folder(request.to) as folder:
            _write(loaded, edits, folder)
            write_json(folder / MARKER, {"scale": request.scale, "edits": [edit.manifest.model_dump() for edit in edits]})
    return request.to


apply = function(ApplyRequest, run)


def _write(model: Model, edits: Sequence[Edit], folder: Path) -> None:
    if model.folder is None:
        model.pipeline.save_pretrained(folder)
        return
    changed = {name.partition(".")[0] for edit in edits for name in edit.deltas}
    _copy_without(model.folder, folder, changed, keep={model.classifier.name} if model.classifier else set())
    for part in changed:
        getattr(model.pipeline, part).save_pretrained(folder / part)
    _rename(folder / "excise.json", edits)


def _copy_without(base: Path, folder: Path, changed: set[str], keep: set[str]) -> None:
    """Every file of a model but the weights of the changed networks, and single-file checkpoints beside them (all but `keep`)."""
    weights = shutil.ignore_patterns(*_WEIGHTS)

    def ignore(directory: str, names: list[str]) -> set[str]:
        where = Path(directory).relative_to(base)
        if where == Path():
            return set(weights(directory, names)) - keep
        return set(weights(directory, names)) if where.parts[0] in changed else set()

    shutil.copytree(base, folder, ignore=ignore, dirs_exist_ok=True)


def _rename(path: Path, edits: Sequence[Edit]) -> None:
    """Let the copy's description say what is not in it."""
    if path.is_file():
        description = read_json(path)
        missing = ", ".join(name for edit in edits for name in edit.manifest.names)
        write_json(path, {**description, "name": f"{description['name']} without {missing}"})
