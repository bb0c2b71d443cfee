"""Pictures that methods learn from: made by the model before it is edited, once, and kept in the cache folder; or a folder of the user's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from excise.edits import applied_edits
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.files import cache_folder, read_tensors, write_tensors
from excise.information.pictures import SUFFIXES, read_picture

if TYPE_CHECKING:
    from excise.models import Model

LIST = "pictures.json"
"""What `excise generate --out FOLDER` writes beside its pictures: the prompt of each."""


@dataclass(frozen=True)
class Pictures:
    """Pictures and the prompts they show.

    prompts one per picture
    latents (n, c, h, w), scaled
    """

    prompts: tuple[str, ...]
    latents: Tensor

    def __len__(self) -> int:
        return len(self.prompts)


def pictures(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    run: Run,
    folder: str | Path | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
) -> Pictures:
    """Those of a folder if one is given, else pictures that the model makes of the prompts; see the two functions below."""
    if folder is not None:
        return folder_pictures(model, folder, prompts)
    made = generated_latents(model, prompts, seeds, run=run, steps=steps, guidance_scale=guidance_scale)
    return Pictures(tuple(prompts), made)


@torch.no_grad()
def generated_latents(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    run: Run,
    steps: int | None = None,
    guidance_scale: float | None = None,
    batch: int = 32,
    stage: str = "pictures to learn from",
) -> Tensor:
    """Finished latents of prompts, one seed each, (n, c, h, w) on the model's device; call it before any weight is trained.

    steps, guidance_scale  of the sampler; default the model's

    They are made in batches in the order given, and every batch is a file in the cache folder, so a run that was stopped makes only
    what is missing, and calls that begin alike share what they have in common. The cache knows a batch by the model's weights, its
    sampler, the prompts' tokens and the seeds; a model that carries edits is not cached.

    Raises ValueError if there are not as many seeds as prompts, or none.
    """
    if len(prompts) != len(seeds) or not prompts:
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds; every picture needs one of each, and there must be some")
    steps = steps or model.sampler.steps
    scale = model.sampler.guidance_scale if guidance_scale is None else guidance_scale
    folder = None if applied_edits(model) else _cache(model, steps, scale)
    parts = []
    for start in range(0, len(prompts), batch):
        run.progress(stage, start, len(prompts))
        rows = slice(start, start + batch)
        parts.append(_batch(model, prompts[rows], seeds[rows], steps, scale, folder))
    run.progress(stage, len(prompts), len(prompts))
    return torch.cat(parts)


def folder_pictures(model: Model, folder: str | Path, prompts: Sequence[str]) -> Pictures:
    """The pictures of a folder, by name, cropped to a square and resized.

    prompts  what they show, in turn, if the folder has no `pictures.json` that tells

    Raises FileNotFoundError if the folder is not there, ValueError if it has no pictures or one cannot be read.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder of pictures: {root}")
    files = sorted(file for file in root.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{root} has no pictures; expected {', '.join(SUFFIXES)} files")
    shown = {file.name: prompts[index % len(prompts)] for index, file in enumerate(files)} | _listed(root / LIST)
    latents = model.encode_pictures(torch.stack([read_picture(file, model.sampler.size) for file in files]))
    return Pictures(tuple(shown[file.name] for file in files), latents)


def _listed(path: Path) -> dict[str, str]:
    """Prompts by file name."""
    if not path.is_file():
        return {}
    try:
        return {entry["file"]: entry["prompt"] for entry in json.loads(path.read_text(encoding="utf-8"))["pictures"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not tell what the pictures show: {error!r}") from None


def _batch(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], steps: int, scale: float, folder: Path | None
) -> Tensor:
    path = None
    if folder is not None:
        key = json.dumps([model.token_ids(prompts), list(seeds)])
        path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
        if path.is_file():
            return read_tensors(path)[0]["latents"].to(model.device)
    *_, last = model.trajectory(
        model.encode(prompts),
        model.start_noise(seeds),
        steps=steps,
        guidance_scale=scale,
        generators=[torch.Generator().manual_seed(seed) for seed in seeds],
    )
    if path is not None:
        write_tensors(path, {"latents": last.latents})
    return last.latents


def _cache(model: Model, steps: int, scale: float) -> Path:
    """The folder of one model and sampler."""
    scheduler = [type(model.pipeline.scheduler).__name__, repr(model.pipeline.scheduler.config)]
    where = [str(model.dtype), model.device.type, model.latent_shape, torch.__version__]
    key = json.dumps([base_fingerprint(model), steps, scale, scheduler, where])
    return cache_folder() / "pictures" / hashlib.sha256(key.encode()).hexdigest()[:16]
