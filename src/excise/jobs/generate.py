"""Pictures from a model, with or without edits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from excise.edits import Edit, all_applied
from excise.files import new_result, replacing, write_json
from excise.images import to_image
from excise.jobs.inputs import load_wanted, read_edits
from excise.jobs.provenance import provenance
from excise.models import Model
from excise.models.context import tell_cut
from excise.progress import Progress, silent
from excise.requests.generate import PICTURES, GenerateRequest
from excise.requests.request import function


def run(request: GenerateRequest, progress: Progress = silent) -> list[Path]:
    """Carry out a request that was checked; returns the files."""
    edits = read_edits(request.edit)
    loaded = load_wanted(request)
    tell_cut(loaded, request.prompts)
    wanted = [(text, request.seed + index) for text in request.prompts for index in range(request.n)]
    made = pictures(loaded, edits, request.scale, wanted, progress)
    if request.one_file:
        return [_write_grid(request, made)]
    about = {
        **provenance(loaded, edits, request.seed).model_dump(),
        "edits": [edit.manifest.model_dump() for edit in edits],
        "scale": request.scale,
        "steps": loaded.sampler.steps,
        "guidance": loaded.sampler.guidance_scale,
        "size": loaded.sampler.size,
        "scheduler": type(loaded.pipeline.scheduler).__name__,
        "long_prompts": loaded.long_prompts,
    }
    return _write_folder(request, made, wanted, about)


generate = function(GenerateRequest, run)


def pictures(
    model: Model, edits: Sequence[Edit], scale: float, wanted: Sequence[tuple[str, int]], progress: Progress = silent
) -> list[Image.Image]:
    """Pictures of prompts and seeds with edits on, each `scale` times as strong."""
    made: list[Image.Image] = []
    with all_applied(model, edits, scale):
        for start in range(0, len(wanted), model.batch(32)):
            progress("pictures", start, len(wanted))
            prompts, seeds = zip(*wanted[start : start + model.batch(32)], strict=True)
            made += map(to_image, model.sample(prompts, seeds))
    progress("pictures", len(wanted), len(wanted))
    return made


def _write_grid(request: GenerateRequest, pictures: Sequence[Image.Image]) -> Path:
    """One file: a picture, or a grid with a row per prompt."""
    path, columns, (width, height) = request.out, request.n, pictures[0].size
    sheet = Image.new("RGB", (columns * width, len(pictures) // columns * height))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    with replacing(path, overwrite=request.overwrite) as temporary:
        sheet.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])
    return path


def _write_folder(
    request: GenerateRequest, pictures: Sequence[Image.Image], wanted: Sequence[tuple[str, int]], about: dict[str, Any]
) -> list[Path]:
    """A PNG per picture, and `pictures.json` that says how each was made."""
    names = [f"{i:04d}-{_slug(prompt)}-seed{seed}.png" for i, (prompt, seed) in enumerate(wanted)]
    with new_result(request.out, PICTURES, request.overwrite) as temporary:
        for name, picture in zip(names, pictures, strict=True):
            picture.save(temporary / name)
        entries = [{"file": name, "prompt": p, "seed": s} for name, (p, s) in zip(names, wanted, strict=True)]
        write_json(temporary / PICTURES.marker, {**about, "pictures": entries})
    return [request.out / name for name in names]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "picture"
