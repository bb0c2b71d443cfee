"""Models that ship with the package. What two have in common ships once and is put together when it is asked for. No torch here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from excise.digests import digest_values
from excise.files import cache_folder, replacing_folder

_CANVAS = Path(__file__).parents[1] / "canvas"
BUILT_IN: dict[str, Path] = {"canvas": _CANVAS / "model", "canvas-without-cat": _CANVAS / "without_cat"}
"""Where they lie, by name; the second was trained from scratch without cats, the gold standard of erasing them."""

LENT = {"canvas-without-cat": ("vae/diffusion_pytorch_model.safetensors", "classifier.safetensors")}
"""Files that a model's own folder lacks: they are those of the canvas, byte for byte."""


def built_in(name: str) -> Path:
    """The diffusers folder of a built-in model, complete: any program that reads such folders reads it.

    A model that lacks what the canvas lends it is put together in the cache, of hard links where the file system has them. Another
    installation or version has a folder of its own there.

    Raises KeyError for an unknown name.
    """
    own = BUILT_IN[name]
    if name not in LENT:
        return own
    files = {file.relative_to(own).as_posix(): file for file in sorted(own.rglob("*")) if file.is_file()}
    files |= {lent: _CANVAS / "model" / lent for lent in LENT[name]}
    made_of = [[inside, str(file), file.stat().st_size, file.stat().st_mtime_ns] for inside, file in files.items()]
    folder = cache_folder() / "models" / digest_values(made_of)[:16] / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as new:
            for inside, file in files.items():
                (new / inside).parent.mkdir(parents=True, exist_ok=True)
                _place(file, new / inside)
    return folder


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copyfile(file, target)
