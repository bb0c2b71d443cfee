"""Pictures that methods learn from: made by the model before it is edited, once, and kept in the cache folder; or a folder of the user's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import Generator, Tensor

from excise import bounds
from excise.concepts import Concept, apart
from excise.digests import digest_text
from excise.edits import applied_edits
from excise.edits.applied import base_fingerprint
from excise.erasure.prompt_bank import PromptBank, in_turn
from excise.erasure.run import Run
from excise.erasure.training_settings import Pictured, Retaining
from excise.files import PICTURE_ENDINGS, Shelf, at_home, cache_folder, read_record
from excise.images import read_picture
from excise.models import Conditioning, Model
from excise.models.context import tell_cut
from excise.models.fingerprint import arithmetic, config
from excise.progress import Progress
from excise.quoting import quoted
from excise.randomness import STEP_NOISE

LIST = "pictures.json"
"""What `excise generate --out FOLDER` writes beside its pictures: the prompt of each."""

RETAINED, APART, RUNS = 2**31, 2**16, 2**15
"""First seed of pictures to keep, how far those of one run's seed are from the next one's, and when these begin again: torch reads 32 bits
of a seed. Evaluations ask in the same words from seed 0 on (`evaluation.questions`) and must not be shown what was trained on; pictures of
the concepts have seeds below 2**31."""


@dataclass(frozen=True)
class Pictures:
    """Pictures and the prompts they show.

    prompts one per picture
    latents (n, c, h, w), scaled
    listed  whether the list of their folder says so, one per picture
    """

    prompts: tuple[str, ...]
    latents: Tensor
    listed: tuple[bool, ...]

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

    Several prompts may have the text that a folder's list says of a picture, such as those of concepts with one anchor: all are taught.

    Raises ValueError if the list says that a picture shows something else, or for more concepts than `settings.pictures`.
    """
    owners = len(bank.owner.unique())
    if settings.pictures < owners:
        raise ValueError(f"pictures={settings.pictures} cannot show {owners} concepts; give at least pictures={owners}")
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
    for text in found.prompts:
        if text not in texts:
            raise ValueError(
                f"a picture in {settings.folder} shows {quoted(text)}, which is not among the prompts, such as {quoted(texts[0])}"
            )
    return Learning(found.latents, _rows_shown(bank, texts, found, rows, generator))


def _rows_shown(bank: PromptBank, texts: Sequence[str], found: Pictures, drawn: Tensor, generator: Generator) -> Tensor:
    """The drawn rows in turn; where a list says what a picture shows, a random one of the rows with that text, their owners in turn."""
    rows, done = drawn[torch.arange(len(found)) % len(drawn)], 0
    for text in dict.fromkeys(text for text, listed in zip(found.prompts, found.listed, strict=True) if listed):
        same = torch.tensor([row for row, other in enumerate(texts) if other == text])
        here = [i for i, other in enumerate(found.prompts) if found.listed[i] and other == text]
        rows[here] = same[in_turn(bank.owner[same], len(here), generator, first=done)]
        done += len(here)
    return rows


def retained_pictures(
    model: Model, concepts: Sequence[Concept], settings: Retaining, run: Run
) -> tuple[Learning, Conditioning]:
    """Pictures of what is to be kept, and their distinct prompts encoded; a folder's if the settings name one.

    About `settings.retained` are made. `settings.retain` is "catalog": the other objects and styles that the model declares; "masked":
    the concepts' own prompts without their words; or a list of prompts.

    Raises ValueError for "catalog" where the model declares nothing else, for an empty list, and for a folder's picture of which nothing
    says what it shows.
    """
    if settings.retain_folder is not None:
        found = folder_pictures(model, settings.retain_folder, _shown_by_all(settings))
        return _labelled(model, found.latents, found.prompts)
    return kept_pictures(model, kept_prompts(model, concepts, settings.retain), settings.retained, settings, run)


def kept_pictures(
    model: Model, groups: Sequence[Sequence[str]], count: int, settings: Pictured, run: Run, *, second: bool = False
) -> tuple[Learning, Conditioning]:
    """About `count` pictures of groups of prompts, as many of each group, and their distinct prompts encoded.

    second  whether the run has other such pictures, whose seeds must not be the same
    """
    each = -(-count // len(groups))
    first = RETAINED + run.seed % RUNS * APART + (APART // 2 if second else 0)
    prompts = [[group[i % len(group)] for i in range(each)] for group in groups]
    parts = []
    for number, chosen in enumerate(prompts):  # one call for each, so that erasing another concept finds them in the cache
        inner = replace(run, progress=_shifted(run, number * each, len(groups) * each))
        steps, scale = settings.picture_steps, settings.picture_guidance
        parts.append(generated_latents(model, chosen, range(first, first + each), run=inner, steps=steps, guidance_scale=scale))
    return _labelled(model, torch.cat(parts), [prompt for group in prompts for prompt in group])


def check_retained(model: Model, concepts: Sequence[Concept], settings: Retaining) -> None:
    """Raise what `retained_pictures` would, before any picture is made."""
    if settings.retain_folder is None:
        kept_prompts(model, concepts, settings.retain)
    else:
        _read_folder(model, settings.retain_folder, _shown_by_all(settings))


def _shown_by_all(settings: Retaining) -> tuple[str, ...]:
    """The one prompt to retain, if it is one: what pictures of a folder show of which its list does not tell."""
    return settings.retain if isinstance(settings.retain, tuple) and len(settings.retain) == 1 else ()


def _labelled(model: Model, latents: Tensor, prompts: Sequence[str]) -> tuple[Learning, Conditioning]:
    """Pictures with the prompt of each, and the distinct prompts encoded."""
    distinct = list(dict.fromkeys(prompts))
    tell_cut(model, distinct)
    return Learning(latents, torch.tensor([distinct.index(prompt) for prompt in prompts])), model.encode(distinct)


def kept_prompts(
    model: Model,
    concepts: Sequence[Concept],
    keep: str | Sequence[str],
    *,
    kinds: Sequence[str] = ("object", "style"),
    called: str = "retain",
) -> list[list[str]]:
    """Prompts of what is to be kept beside concepts, in groups; `keep` is a value of `Retain`.

    kinds   which of the model's concepts "catalog" is
    called  the setting that `keep` is

    Raises ValueError for "catalog" where the model declares nothing else, and for an empty list.
    """
    erased = {phrase for concept in concepts for phrase in concept.phrases}
    if keep == "masked":
        return [[pair.masked for pair in concept.plain_pairs()] for concept in apart(concepts)]
    if keep != "catalog":
        if not keep:
            raise ValueError(f"there is nothing to keep in the list of prompts to {called}; this method needs some")
        return [[prompt] for prompt in keep]
    kept = []
    for other in (other for kind in kinds for other in model.catalog.of_kind(kind)):
        if not erased & set(other.phrases):
            kept.append([pair.prompt for pair in other.beside(erased).plain_pairs()])
    if not kept:
        raise ValueError(
            f"{model.name} declares nothing else to keep; list it, such as {called}='a dog; a house', or {called}=masked"
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
    return Pictures(tuple(prompts), made, (False,) * len(prompts))


@torch.no_grad()
def generated_latents(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    run: Run,
    steps: int | None = None,
    guidance_scale: float | None = None,
    batch: int | None = None,
    stage: str = "pictures to learn from",
) -> Tensor:
    """Finished latents of prompts, one seed each, (n, c, h, w) on the model's device; call it before any weight is trained.

    steps, guidance_scale  of the sampler; default the model's
    batch                  pictures at once; default at most 32

    They are made in batches in the order given, and every batch is a file in the cache folder, so a run that was stopped makes only
    what is missing, and calls that begin alike share what they have in common. The cache knows a batch by the model's weights, its
    sampler, the prompts' tokens and the seeds; a model that carries edits is not cached.

    Raises ValueError if there are not as many seeds as prompts, or none.
    """
    if len(prompts) != len(seeds) or not prompts:
        raise ValueError(
            f"{len(prompts)} prompts and {len(seeds)} seeds; every picture needs one of each, and there must be some"
        )
    tell_cut(model, prompts)
    steps = steps or model.sampler.steps
    scale = model.sampler.guidance_scale if guidance_scale is None else guidance_scale
    shelf = Shelf(None) if applied_edits(model) else _shelf(model, steps, model.guidance_seen(scale))
    parts, batch = [], batch or model.batch(32)
    for start in range(0, len(prompts), batch):
        run.progress(stage, start, len(prompts))
        rows = slice(start, start + batch)
        parts.append(_batch(model, prompts[rows], seeds[rows], steps, scale, shelf))
    run.progress(stage, len(prompts), len(prompts))
    return torch.cat(parts)


def folder_pictures(model: Model, folder: str | Path, prompts: Sequence[str]) -> Pictures:
    """The pictures of a folder, by name, cropped to a square and resized.

    prompts  what those show, in turn, of which the folder's `pictures.json` does not tell; if there are none, it has to tell of all

    Raises FileNotFoundError if the folder is not there, ValueError if it has no pictures, one cannot be read, or nothing says what one
    shows.
    """
    shown, read, listed = _read_folder(model, folder, prompts)
    return Pictures(shown, model.encode_pictures(read), listed)


def _read_folder(model: Model, folder: str | Path, prompts: Sequence[str]) -> tuple[tuple[str, ...], Tensor, tuple[bool, ...]]:
    """What the pictures of a folder show, the pictures (n, 3, size, size) in 0–1, and whether its list tells what they show."""
    root = at_home(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder of pictures: {root}")
    files = sorted(file for file in root.iterdir() if file.suffix.lower() in PICTURE_ENDINGS)
    if not files:
        raise ValueError(f"{root} has no pictures; expected {', '.join(PICTURE_ENDINGS)} files")
    told = _listed(root / LIST)
    unknown = next((file.name for file in files if file.name not in told), None)
    if unknown is not None and not prompts:
        raise ValueError(f"{root / LIST} does not say what {unknown} shows; add it, or give one prompt that all of them show")
    shown = tuple(told[f.name] if f.name in told else prompts[i % len(prompts)] for i, f in enumerate(files))
    read = torch.stack([read_picture(file, model.sampler.size) for file in files])
    return shown, read, tuple(file.name in told for file in files)


class ShownPicture(BaseModel):
    """A picture's file, and the prompt that says what it shows."""

    file: str
    prompt: str = Field(max_length=bounds.CHARACTERS)


class PictureList(BaseModel):
    """What is read of the `pictures.json` of `excise generate`, or of one that a user wrote."""

    pictures: list[ShownPicture] = Field(max_length=bounds.PICTURES)


def _listed(path: Path) -> dict[str, str]:
    """Prompts by file name."""
    if not path.is_file():
        return {}
    listed = read_record(path, PictureList, "a list of what pictures show")
    return {picture.file: picture.prompt for picture in listed.pictures}


def _batch(model: Model, prompts: Sequence[str], seeds: Sequence[int], steps: int, scale: float, shelf: Shelf) -> Tensor:
    read = [[part.ids for part in parts] for parts in model.segments(prompts)]
    name = digest_text(json.dumps([model.token_ids(prompts), read, list(seeds)]))[:32]
    if kept := shelf.get(name):
        return kept.tensors["latents"].to(model.device)
    latents = model.latents(prompts, seeds, batch=len(seeds), steps=steps, guidance_scale=scale)
    shelf.put(name, {"latents": latents})
    return latents


def _shelf(model: Model, steps: int, scale: float) -> Shelf:
    """Where the pictures of one model and sampler are kept."""
    scheduler = [type(model.pipeline.scheduler).__name__, config(model.pipeline.scheduler)]
    made_by = [
        base_fingerprint(model),
        model.unedited,
        steps,
        scale,
        scheduler,
        model.latent_shape,
        arithmetic(model),
        STEP_NOISE,
    ]
    key = json.dumps(made_by, default=str)
    return Shelf(cache_folder(), "pictures", digest_text(key)[:16])
