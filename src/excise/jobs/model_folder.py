"""Writing a model of which some networks were changed as a diffusers folder."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from excise.files import copy_file, read_header, read_json, write_json
from excise.models import Model
from excise.models.contents import model_files

_WEIGHTS = ("*.safetensors", "*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.index.json", "*.gguf")


def write_model(model: Model, changed: Collection[str], folder: Path) -> None:
    """Write the networks that were changed, by their names in the pipeline; everything else of a model's folder is copied as it is.

    Raises ValueError, before anything is copied, for a safetensors file that is not as long as its header says.
    """
    if model.folder is None:
        model.pipeline.save_pretrained(folder)
        return
    files = model_files(model.folder)
    copied = {name: file for name, file in files.items() if not _rewritten(PurePosixPath(name), changed)}
    for file in copied.values():
        if file.suffix == ".safetensors":
            read_header(file)
    for name, file in copied.items():
        copy_file(file, folder / name)
    for part in changed:
        getattr(model.pipeline, part).save_pretrained(folder / part)


def rename(folder: Path, ending: str) -> None:
    """Let the description in a copied folder, if there is one, say what the model is now."""
    path = folder / "excise.json"
    if path.is_file():
        description = read_json(path)
        write_json(path, {**description, "name": f"{description['name']} {ending}"})


def _rewritten(name: PurePosixPath, changed: Collection[str]) -> bool:
    """Whether a file holds weights of a changed network."""
    return name.parts[0] in changed and any(fnmatch(name.name, pattern) for pattern in _WEIGHTS)
