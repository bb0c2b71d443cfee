"""Pictures restored and enlarged, from beginning to end: load, restore one after the other, write the folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from excise import bounds
from excise.digests import digest_file, digest_values
from excise.edits import Edit, all_applied
from excise.erasure.saved_round import check_saved, read_round, write_round
from excise.files import new_result
from excise.files.pictures import digest_picture, open_picture
from excise.images import to_tensor
from excise.jobs.inputs import load_edited, read_edits
from excise.jobs.provenance import provenance
from excise.models import Model
from excise.progress import Progress, silent
from excise.requests.request import function
from excise.requests.upscale import UPSCALED, UpscaleRequest, check_size
from excise.restoration.degradation import enlarge
from excise.restoration.restorer import Restorer, read_restorer
from excise.restoration.tiled_sampling import Tiling, restore
from excise.results.upscaled import UpscaledPicture, UpscaleFile, UpscaleSettings


def run(request: UpscaleRequest, progress: Progress = silent) -> UpscaleFile:
    """Carry out a request that was checked."""
    workplace = request.workplace
    with workplace.opened():
        model, edits = load_edited(request, read_edits(request.edit), progress)
        restorer = read_restorer(request.restorer_file, model)
        tiling = Tiling.of(model, request.tile, request.overlap)
        settings = _settings(request, model, tiling)
        pictures = [_about(*each, request.scale) for each in zip(request.images, request.names, strict=True)]
        for picture in pictures:
            tiling.check(model, picture.height, picture.width)
        identity = _identity(model, edits, settings, request.seed, pictures)
        with workplace.claimed(identity, resume=request.resume) as spent:
            began, name = time.perf_counter(), digest_values(identity)
            with all_applied(model, edits):
                _restore_all(request, model, restorer, name, pictures, progress)
            about = UpscaleFile(
                settings=settings,
                provenance=provenance(model, edits, request.seed),
                pictures=tuple(pictures),
                seconds=time.perf_counter() - began + spent,
            )
            _write(request, about, name)
    return about


upscale = function(UpscaleRequest, run)


def _settings(request: UpscaleRequest, model: Model, tiling: Tiling) -> UpscaleSettings:
    return UpscaleSettings(
        restorer=digest_file(request.restorer_file),
        scale=request.scale,
        steps=model.sampler.steps,
        scheduler=type(model.pipeline.scheduler).__name__,
        fidelity=request.fidelity,
        colour=request.colour,
        tile=tiling.tile * model.grain,
        overlap=tiling.overlap * model.grain,
    )


def _about(image: Path, name: str, scale: int) -> UpscaledPicture:
    """A picture that is to be restored. Raises ValueError if it is none, or would become too large."""
    digest, opened = digest_picture(image), open_picture(image)
    check_size(image, opened, scale)
    width, height = opened.size
    return UpscaledPicture(
        file=name,
        source=image.name,
        sha256=digest,
        low_width=width,
        low_height=height,
        width=width * scale,
        height=height * scale,
    )


def _identity(
    model: Model, edits: Sequence[Edit], settings: UpscaleSettings, seed: int, pictures: Sequence[UpscaledPicture]
) -> dict[str, Any]:
    """What must be the same for a run to go on to the same bits."""
    told = provenance(model, edits, seed)
    return {
        "task": "upscale",
        "model": told.base_fingerprint,
        "edits": [edit.model_dump(mode="json") for edit in told.edits],
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "dtype": told.dtype,
        "pictures": digest_values([picture.model_dump(mode="json") for picture in pictures]),
    }


def _restore_all(
    request: UpscaleRequest,
    model: Model,
    restorer: Restorer,
    identity: str,
    pictures: Sequence[UpscaledPicture],
    progress: Progress,
) -> None:
    """Restore what is not there yet; each is kept in a checkpoint of its own."""
    for number, (image, picture) in enumerate(zip(request.images, pictures, strict=True)):
        progress("pictures", number, len(pictures))
        kept = _checkpoint(request, number)
        if kept.exists():
            _read(kept, identity, picture)
            continue
        restored = restore(
            model,
            restorer,
            enlarge(_given(image, picture), request.scale),
            fidelity=request.fidelity,
            colour=request.colour,
            tile=request.tile,
            overlap=request.overlap,
            seed=request.seed,
            progress=progress,
        )
        write_round(kept, {"picture": restored[0].mul(255).round().byte()}, identity, number)
    progress("pictures", len(pictures), len(pictures))


def _checkpoint(request: UpscaleRequest, number: int) -> Path:
    return request.workplace.folder / f"checkpoint-{number:05d}.safetensors"


def _read(kept: Path, identity: str, picture: UpscaledPicture) -> Tensor:
    """A restored picture, (3, h, w) uint8. Raises DamagedCheckpointError."""
    found, _ = read_round(kept, identity, bounds.ENTRIES)
    check_saved(kept, found, {"picture": torch.empty(3, picture.height, picture.width, dtype=torch.uint8)})
    return found["picture"]


def _given(image: Path, picture: UpscaledPicture) -> Tensor:
    """A picture as it was given, (1, 3, h, w) in 0–1. Raises ValueError if its file was changed while the run worked."""
    if digest_picture(image) != picture.sha256:
        raise ValueError(f"{image} was changed while the run worked; leave it alone until it is restored")
    return to_tensor(open_picture(image))[None]


def _write(request: UpscaleRequest, about: UpscaleFile, identity: str) -> None:
    """All files of the result, all or nothing."""
    with new_result(request.out, UPSCALED, request.overwrite) as folder:
        for number, picture in enumerate(about.pictures):
            pixels = _read(_checkpoint(request, number), identity, picture)
            Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(folder / picture.file)
        about.write(folder / UPSCALED.marker)
