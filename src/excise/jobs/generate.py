"""Pictures from a model, with or without edits."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.files import check_replaceable, replacing, replacing_folder, write_json
from excise.jobs.inputs import check_new_file, check_seed, read_edits
from excise.jobs.provenance import provenance
from excise.models.context import tell_cut
from excise.progress import Progress, silent

if TYPE_CHECKING:
    from PIL import Image

    from excise.edits import Edit
    from excise.models import Model

MARKER = "pictures.json"
_FILES = {".png", ".jpg", ".jpeg", ".webp"}


def generate(
    prompts: str | Sequence[str],
    *,
    out: str | Path,
    edit: str | Path | Sequence[str | Path] = (),
    scale: float = 1.0,
    model: str | Path = "canvas",
    n: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    overwrite: bool = False,
    device: str | None = None,
    dtype: str = "float32",
    progress: Progress = silent,
) -> list[Path]:
    """Make `n` pictures of every prompt and write them; returns the files.

    out       a picture file (a grid if there are several: a row per prompt), or a folder for one file each and pictures.json
    edit      folders of edits to put on, in order; scale is the strength of all of them (0 = base model)
    seed      of each prompt's first picture; the next ones count up, so prompts share their seeds
    steps     of the sampler; default the model's
    guidance  classifier-free guidance scale, 1 or less = off, as in diffusers; default the model's

    Raises ValueError for an empty prompt, a number out of range or a scale without an edit, FileExistsError if `out` is there and may not
    be replaced.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    _check(texts, n, seed, steps, guidance, scale)
    path = Path(out)
    if path.suffix.lower() in _FILES:
        check_new_file(path, overwrite)
    else:
        check_replaceable(path, MARKER, overwrite)
    edits = read_edits(edit)
    if scale != 1 and not edits:
        raise ValueError(f"scale={scale} is the strength of edits, and none is given; give an edit, or leave scale out")
    from excise.models import load

    loaded = load(model, device=device, dtype=dtype)
    tell_cut(loaded, texts)
    wanted = [(text, seed + index) for text in texts for index in range(n)]
    pictures = _sample(loaded, edits, scale, wanted, steps, guidance, progress)
    if path.suffix.lower() in _FILES:
        return [_write_grid(path, pictures, n)]
    about = {**provenance(loaded, edits, seed), "edits": [e.manifest.model_dump() for e in edits], "scale": scale}
    used = {"steps": steps or loaded.sampler.steps, "guidance": loaded.sampler.guidance_scale if guidance is None else guidance}
    return _write_folder(path, pictures, wanted, about | used)


def _check(prompts: Sequence[str], n: int, seed: int, steps: int | None, guidance: float | None, scale: float) -> None:
    if not prompts:
        raise ValueError("give at least one prompt")
    for number, prompt in enumerate(prompts, 1):
        if not prompt.strip():
            raise ValueError(f"prompt {number} is empty")
    if n < 1 or (steps is not None and steps < 1):
        raise ValueError(f"n and steps must be at least 1, not n={n}, steps={steps}")
    check_seed(seed)
    if not math.isfinite(scale) or (guidance is not None and not (math.isfinite(guidance) and guidance >= 0)):
        raise ValueError(f"scale must be a number and guidance one of at least 0, not scale={scale}, guidance={guidance}")


def _sample(
    model: Model, edits: Sequence[Edit], scale: float, wanted: Sequence[tuple[str, int]],
    steps: int | None, guidance: float | None, progress: Progress,
) -> list[Image.Image]:  # fmt: skip
    from excise.edits import all_applied
    from excise.images import to_image

    pictures: list[Image.Image] = []
    with all_applied(model, edits, scale):
        for start in range(0, len(wanted), model.batch(32)):
            progress("pictures", start, len(wanted))
            prompts, seeds = zip(*wanted[start : start + model.batch(32)], strict=True)
            pictures += map(to_image, model.sample(prompts, seeds, steps=steps, guidance_scale=guidance))
    progress("pictures", len(wanted), len(wanted))
    return pictures


def _write_grid(path: Path, pictures: Sequence[Image.Image], columns: int) -> Path:
    """One file: a picture, or a grid with a row per prompt."""
    from PIL import Image

    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, len(pictures) // columns * height))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    with replacing(path) as temporary:
        sheet.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])
    return path


def _write_folder(
    folder: Path, pictures: Sequence[Image.Image], wanted: Sequence[tuple[str, int]], about: dict[str, Any]
) -> list[Path]:
    """A PNG per picture, and `pictures.json` that says how each was made."""
    names = [f"{i:04d}-{_slug(prompt)}-seed{seed}.png" for i, (prompt, seed) in enumerate(wanted)]
    with replacing_folder(folder) as temporary:
        for name, picture in zip(names, pictures, strict=True):
            picture.save(temporary / name)
        entries = [{"file": name, "prompt": p, "seed": s} for name, (p, s) in zip(names, wanted, strict=True)]
        write_json(temporary / MARKER, {**about, "pictures": entries})
    return [folder / name for name in names]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "picture"
