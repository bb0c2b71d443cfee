"""Writing a model with edits in it as a full diffusers folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from excise.files import check_replaceable, read_json, replacing_folder, write_json
from excise.jobs.inputs import read_edits
from excise.models.names import resolve

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.models import Model

MARKER = "excise_edits.json"
"""The manifests of the edits that a written model contains."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.index.json", "*.gguf")


def apply(
    edit: str | Path | Sequence[str | Path],
    *,
    to: str | Path,
    model: str | Path = "canvas",
    scale: float = 1.0,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
) -> Path:
    """Write the base model with edits in it to the folder `to`, which plain diffusers loads; returns the folder.

    edit   folders of edits, put on in order, each `scale` times as strong
    dtype  of the networks that the edits change; every other file of a base folder is copied as it is

    Raises ValueError for an edit of another base or one that weights cannot hold (an adapter), or a folder inside the base's,
    FileNotFoundError, or FileExistsError if `to` is there and may not be replaced.
    """
    base = resolve(model)
    if isinstance(base, Path) and Path(to).resolve().is_relative_to(base.resolve()):
        raise ValueError(f"{to} lies in the folder of the base model, which is never changed; choose another path")
    check_replaceable(Path(to), MARKER, overwrite)
    from excise.edits import check_weights

    edits = read_edits(edit)
    if not edits:
        raise ValueError("nothing to apply: give at least one edit")
    check_weights(edits, "written into a model")
    from excise.models import load

    loaded = load(model, device=device, dtype=dtype)
    with ExitStack() as on:
        for one in edits:
            on.enter_context(one.applied(loaded, scale))
        with replacing_folder(Path(to)) as folder:
            _write(loaded, edits, folder)
            write_json(folder / MARKER, {"scale": scale, "edits": [one.manifest.model_dump() for one in edits]})
    return Path(to)


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
