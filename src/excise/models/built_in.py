"""Models that ship with the package. What two have in common ships once and is put together when it is asked for. No torch here."""

from __future__ import annotations

import atexit
import filecmp
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from excise.digests import digest_values
from excise.files import cache_folder, replacing_folder, tell_not_kept

_CANVAS = Path(__file__).parents[1] / "canvas"
BUILT_IN: dict[str, Path] = {"canvas": _CANVAS / "model", "canvas-without-cat": _CANVAS / "without_cat"}
"""Where they lie, by name; the second was trained from scratch without cats, the gold standard of erasing them."""

_FLOW = _CANVAS / "flow" / "model"
if (_FLOW / "transformer" / "diffusion_pytorch_model.safetensors").is_file():  # an installation may lack its weights
    BUILT_IN["canvas-flow"] = _FLOW

RESTORERS = {"canvas": _CANVAS / "restorer.safetensors"}
"""What `excise upscale` restores pictures with, by the model that it was trained for."""

LENT = dict.fromkeys(
    ("canvas-without-cat", "canvas-flow"), ("vae/diffusion_pytorch_model.safetensors", "classifier.safetensors")
)
"""Files that a model's own folder lacks: they are those of the canvas, byte for byte."""


def built_in(name: str) -> Path:
    """The diffusers folder of a built-in model, complete: any program that reads such folders reads it.

    A model that lacks what the canvas lends it is put together in the cache, of copies: what harms the cache does not reach the package.
    A folder there that is not whole is made anew; where nothing can be written, one is made for this process alone. Another installation
    or version has a folder of its own.

    Raises KeyError for an unknown name, OSError if there is no temporary folder either.
    """
    own = BUILT_IN[name]
    if name not in LENT:
        return own
    files = {file.relative_to(own).as_posix(): file for file in sorted(own.rglob("*")) if file.is_file()}
    files |= {lent: _CANVAS / "model" / lent for lent in LENT[name]}
    made_of = [[inside, str(file), file.stat().st_size, file.stat().st_mtime_ns] for inside, file in files.items()]
    kept = cache_folder()
    if kept is not None:
        folder = kept / "models" / digest_values(made_of)[:16] / name
        try:
            if not _whole(folder, files):
                with replacing_folder(folder) as new:
                    _copy(files, new)
            return folder
        except OSError as error:
            tell_not_kept(kept, error)
    return _for_this_process(name, tuple(files.items()))


def restorer_of(model: str) -> Path | None:
    """The restorer that ships for a built-in model; None for other models, or where this installation lacks it."""
    found = RESTORERS.get(model)
    return found if found is not None and found.is_file() else None


def _whole(folder: Path, files: Mapping[str, Path]) -> bool:
    """Whether a folder holds these files, byte for byte, and no others."""
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}
    try:
        return found == files.keys() and all(
            filecmp.cmp(file, folder / inside, shallow=False) for inside, file in files.items()
        )
    except OSError:  # a link that leads nowhere
        return False


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    for inside, file in files.items():
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / inside)


@cache
def _for_this_process(name: str, files: tuple[tuple[str, Path], ...]) -> Path:
    """A folder that is deleted when the process ends."""
    above = tempfile.mkdtemp(prefix="excise-")
    atexit.register(shutil.rmtree, above, ignore_errors=True)
    _copy(dict(files), Path(above) / name)
    return Path(above) / name
