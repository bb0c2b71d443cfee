"""Pictures that methods learn from: made by the model before it is edited, once, and kept in the cache folder; or a folder of the user's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Generator, Tensor

from excise.concepts import Concept, apart
from excise.edits import applied_edits
from excise.edits.applied import base_fingerprint
from excise.erasure.budget import Pictured, Relabelling
from excise.erasure.prompts import PromptBank
from excise.erasure.run import Progress, Run
from excise.files import cache_folder, read_json, read_tensors, write_tensors
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


@dataclass(frozen=True)
class Learning:
    """Pictures, and which of a list of prompts each shows.

    latents (n, c, h, w), scaled
    rows    (n,) int64
    """

    latents: Tensor
    rows: Tensor

    def draw(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """`count` random pictures and their rows."""
        picks = torch.randint(len(self.rows), (count,), generator=generator)
        return self.latents[picks.to(self.latents.device)], self.rows[picks]


def learning_pictures(
    model: Model, bank: PromptBank, settings: Pictured, run: Run, *, shows: Literal["conditioned", "masked"]
) -> Learning:
    """Pictures of random prompts of a bank, with the concept or without it; a folder's if the settings name one.

    Raises ValueError if the folder says that a picture shows something else.
    """
    generator = run.generator(2)
    rows = bank.draw(settings.pictures, generator)
    texts = [pair.prompt if shows == "conditioned" else pair.masked for pair in bank.pairs]
    found = pictures(
        model,
        [texts[row] for row in rows.tolist()],
        torch.randint(2**31, (len(rows),), generator=generator).tolist(),
        run=run,
        folder=settings.folder,
        steps=settings.picture_steps,
        guidance_scale=settings.picture_guidance,
    )
    if settings.folder is None:
        return Learning(found.latents, rows)
    for text in found.prompts:
        if text not in texts:
            raise ValueError(
                f"a picture in {settings.folder} shows {text!r}, which is not among the prompts, such as {texts[0]!r}"
            )
    return Learning(found.latents, torch.tensor([texts.index(text) for text in found.prompts]))


def retained_pictures(model: Model, concepts: Sequence[Concept], settings: Relabelling, run: Run) -> tuple[Learning, Tensor]:
    """Pictures of what is to be kept, and the embeddings (prompts, tokens, width) of their prompts; a folder's if the settings name one.

    About `settings.retained` are made. `settings.retain` is "catalog": the other objects and styles that the model declares; "masked":
    the concepts' own prompts without their words; or a list of prompts.

    Raises ValueError for "catalog" where the model declares nothing else, for an empty list, and for a folder's picture of which nothing
    says what it shows.
    """
    if settings.retain_folder is not None:
        one = settings.retain if isinstance(settings.retain, tuple) and len(settings.retain) == 1 else ()
        found = folder_pictures(model, settings.retain_folder, one)
        return _labelled(model, found.latents, found.prompts)
    groups = _retained_prompts(model, concepts, settings.retain)
    each = -(-settings.retained // len(groups))
    prompts = [[group[i % len(group)] for i in range(each)] for group in groups]
    parts = []
    for number, chosen in enumerate(prompts):  # one call for each, so that erasing another concept finds them in the cache
        inner = replace(run, progress=_shifted(run, number * each, len(groups) * each))
        steps, scale = settings.picture_steps, settings.picture_guidance
        parts.append(
            generated_latents(model, chosen, range(run.seed, run.seed + each), run=inner, steps=steps, guidance_scale=scale)
        )
    return _labelled(model, torch.cat(parts), [prompt for group in prompts for prompt in group])


def _labelled(model: Model, latents: Tensor, prompts: Sequence[str]) -> tuple[Learning, Tensor]:
    """Pictures with the prompt of each, and the embeddings of the distinct prompts."""
    distinct = list(dict.fromkeys(prompts))
    return Learning(latents, torch.tensor([distinct.index(prompt) for prompt in prompts])), model.encode(distinct)


def _retained_prompts(model: Model, concepts: Sequence[Concept], retain: str | Sequence[str]) -> list[list[str]]:
    erased = {phrase for concept in concepts for phrase in concept.phrases}
    if retain == "masked":
        return [[pair.masked for pair in concept.plain_pairs()] for concept in apart(concepts)]
    if retain != "catalog":
        if not retain:
            raise ValueError("there is nothing to keep in the list of prompts to retain; this method needs some")
        return [[prompt] for prompt in retain]
    kept = []
    for other in (*model.catalog.of_kind("object"), *model.catalog.of_kind("style")):
        if not erased & set(other.phrases):
            kept.append([pair.prompt for pair in other.beside(erased).plain_pairs()])
    if not kept:
        raise ValueError(
            f"{model.name} declares nothing else to keep; list it, such as retain='a dog; a house', or retain=masked"
        )
    return kept


def _shifted(run: Run, before: int, total: int) -> Progress:
    return lambda stage, done, _: run.progress(stage, before + done, total)


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
        raise ValueError(
            f"{len(prompts)} prompts and {len(seeds)} seeds; every picture needs one of each, and there must be some"
        )
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

    prompts  what those show, in turn, of which the folder's `pictures.json` does not tell; if there are none, it has to tell of all

    Raises FileNotFoundError if the folder is not there, ValueError if it has no pictures, one cannot be read, or nothing says what one
    shows.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder of pictures: {root}")
    files = sorted(file for file in root.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{root} has no pictures; expected {', '.join(SUFFIXES)} files")
    shown = _listed(root / LIST)
    for index, file in enumerate(files):
        if file.name not in shown:
            if not prompts:
                raise ValueError(
                    f"{root / LIST} does not say what {file.name} shows; add it, or give one prompt that all of them show"
                )
            shown[file.name] = prompts[index % len(prompts)]
    latents = model.encode_pictures(torch.stack([read_picture(file, model.sampler.size) for file in files]))
    return Pictures(tuple(shown[file.name] for file in files), latents)


def _listed(path: Path) -> dict[str, str]:
    """Prompts by file name."""
    if not path.is_file():
        return {}
    listed = read_json(path)
    try:
        return {entry["file"]: entry["prompt"] for entry in listed["pictures"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} does not tell what the pictures show: {error!r}") from None


def _batch(model: Model, prompts: Sequence[str], seeds: Sequence[int], steps: int, scale: float, folder: Path | None) -> Tensor:
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
    where = [model.precision, model.device.type, model.latent_shape, torch.__version__]
    key = json.dumps([base_fingerprint(model), steps, scale, scheduler, where])
    return cache_folder() / "pictures" / hashlib.sha256(key.encode()).hexdigest()[:16]
