"""Answer sets: a folder with a PNG per picture and `manifest.json`, which lists every picture that belongs there.

A picture has its own generator, seeded with its own seed, so a set that was stopped goes on with what is missing and ends with the same
pictures. An incomplete set is not scored unless that is asked for, and then the result says so.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, JsonValue
from torch import Tensor

from excise.digests import digest_values
from excise.edits import Edit, all_applied
from excise.evaluation.suites.prompt_file import PromptItem
from excise.files import Shelf, at_home, cache_folder, delete_files, read_record, replacing, vacant, write_json
from excise.files.pictures import digest_picture, open_picture
from excise.models import Model
from excise.models.context import tell_cut
from excise.progress import Progress
from excise.quoting import quoted

MANIFEST = "manifest.json"
FORMATS = (".png", ".jpg", ".jpeg", ".webp")
NAMES = ("model", "versions")
"""What may change between openings of a set: the model's weights are known by their digest, whatever it is called."""

SAVE_EVERY = 10.0
"""Seconds of picture-making that a kill can cost."""


class IncompleteSetError(ValueError):
    """Pictures of an answer set are missing, or are not those that were made."""


@dataclass(frozen=True)
class Answered:
    """A picture that is there."""

    item: PromptItem
    file: Path
    sha256: str

    def open(self) -> Image.Image:
        """The picture in RGB. Raises ValueError if it cannot be read."""
        return open_picture(self.file)


class AnswerSet:
    """The pictures of one model for the prompts of one suite.

    items  what belongs there
    about  what decides the pictures: model, edits, sampler; compared when a set is opened again
    """

    def __init__(self, folder: Path, items: Sequence[PromptItem], about: Mapping[str, Any], done: Mapping[str, str]) -> None:
        self.folder = folder
        self.items = tuple(items)
        self.about = dict(about)
        self.done = dict(done)

    @classmethod
    def open(cls, folder: str | Path, items: Sequence[PromptItem], about: Mapping[str, Any]) -> AnswerSet:
        """A new set, or the one that is there already.

        Raises FileExistsError if the folder holds something else, ValueError if its pictures are of another model, sampler or list of
        prompts.
        """
        folder = Path(folder)
        about = json.loads(json.dumps({**about, "prompts": prompts_digest(items)}, default=str))
        path = folder / MANIFEST
        if not path.is_file():
            if not vacant(folder):
                raise FileExistsError(f"{folder} exists and is not an answer set (it has no {MANIFEST}); choose another folder")
            return cls(folder, _checked(items), about, {})
        before = read_manifest(path)
        changed = [key for key in about if key not in NAMES and before.about.get(key) != about[key]]
        if changed:
            raise ValueError(f"the pictures in {folder} were made with another {', '.join(changed)}; choose another folder")
        return cls(folder, _checked(items), before.about, before.done)

    @classmethod
    def adopt(cls, folder: str | Path, items: Sequence[PromptItem]) -> AnswerSet:
        """Pictures made elsewhere: ID.png (jpg, webp) of every item in a folder; nothing is written there.

        Raises FileNotFoundError if there is no such folder.
        """
        folder = at_home(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"no such folder of pictures: {folder}")
        if (folder / MANIFEST).is_file():
            before = read_manifest(folder / MANIFEST)
            if before.about.get("prompts") != prompts_digest(items):
                raise ValueError(f"the pictures in {folder} were made of another list of prompts")
            return cls(folder, _checked(items), before.about, before.done)
        found = _Foreign(folder, _checked(items), {"model": "made elsewhere", "prompts": prompts_digest(items)}, {})
        found.done = {item.id: digest_picture(file) for item in items if (file := found.file(item)).is_file()}
        return found

    @staticmethod
    def delete(folder: Path) -> None:
        """Delete the set in a folder; files that are not of it stay."""
        pictures = [f"{picture.id}.png" for picture in read_manifest(folder / MANIFEST).pictures]
        notes = [f"notes/{file.name}" for file in (folder / "notes").glob("*-????????????????.safetensors")]
        delete_files(folder, [MANIFEST, *(name for name in pictures if Path(name).name == name), *notes])

    def file(self, item: PromptItem) -> Path:
        """Where a picture is, or belongs."""
        return self.folder / f"{item.id}.png"

    @property
    def notes(self) -> Shelf:
        """For what is found out about the pictures, by their content."""
        return Shelf(self.folder / "notes")

    @property
    def missing(self) -> list[PromptItem]:
        """What has not been made."""
        return [item for item in self.items if item.id not in self.done]

    @property
    def share(self) -> str:
        """How much of it is there: "98/100"."""
        return f"{len(self.items) - len(self.missing)}/{len(self.items)}"

    def generate(self, model: Model, edits: Sequence[Edit], progress: Progress, stage: str = "pictures") -> None:
        """Make what is missing, with the edits on. Stopping it loses some seconds' work."""
        missing = self.missing
        tell_cut(model, [item.prompt for item in self.items])
        self.write()
        written, made = time.monotonic(), 0
        try:
            with all_applied(model, edits):
                for chunk in _chunks(missing, model):
                    progress(stage, made, len(missing))
                    for item, picture in zip(chunk, _make(model, chunk), strict=True):
                        self.done[item.id] = _save(picture, self.file(item))
                    made += len(chunk)
                    if time.monotonic() - written > SAVE_EVERY:
                        self.write()
                        written = time.monotonic()
        finally:
            self.write()
        progress(stage, len(missing), len(missing))

    def write(self) -> None:
        """Write the manifest."""
        pictures = [
            {**asdict(item), "file": self.file(item).name, "status": "done" if item.id in self.done else "missing",
             "sha256": self.done.get(item.id)}
            for item in self.items
        ]  # fmt: skip
        write_json(self.folder / MANIFEST, {"about": self.about, "pictures": pictures})

    def check(self, *, allow_partial: bool = False) -> list[Answered]:
        """Every picture, after a look at each file's digest.

        Raises IncompleteSetError that names the first picture that was not made or is missing (with `allow_partial` these are left out,
        unless none is there), or that has been changed (always).
        """
        found, lost = [], []
        for item in self.items:
            file = self.file(item)
            if item.id not in self.done or not file.is_file():
                lost.append(file)
                continue
            sha256 = digest_picture(file)
            if sha256 != self.done[item.id]:
                raise IncompleteSetError(
                    f"{file} is not the picture that was made: its SHA-256 differs; delete it to make it anew"
                )
            found.append(Answered(item, file, sha256))
        if lost and (not allow_partial or not found):
            raise IncompleteSetError(
                f"{len(lost)} of {len(self.items)} pictures are missing in {self.folder}, the first is {lost[0].name}; "
                "run the same command again to make them, or pass allow_partial to score the others"
            )
        return found

    def drop_lost(self) -> None:
        """Forget pictures whose files are not there any more, so that they are made again."""
        self.done = {item.id: self.done[item.id] for item in self.items if item.id in self.done and self.file(item).is_file()}


class _Foreign(AnswerSet):
    """Pictures made elsewhere, in any format."""

    def file(self, item: PromptItem) -> Path:
        files = (self.folder / f"{item.id}{suffix}" for suffix in FORMATS)
        return next((file for file in files if file.is_file()), self.folder / f"{item.id}.png")

    @property
    def notes(self) -> Shelf:
        return Shelf(cache_folder(), "notes")

    def write(self) -> None:
        """Nothing: the folder is not ours."""


def prompts_digest(items: Sequence[PromptItem]) -> str:
    """SHA-256 over everything that items say."""
    return digest_values([asdict(item) for item in items])


def _checked(items: Sequence[PromptItem]) -> Sequence[PromptItem]:
    """Raise ValueError unless the items' names are distinct and can be files' names."""
    names = [item.id for item in items]
    if not names:
        raise ValueError("an answer set needs at least one prompt")
    bad = next((name for name in names if not re.fullmatch(r"[\w.,=+ -]+", name) or name.startswith(".")), None)
    if bad is not None:
        raise ValueError(f"{quoted(bad)} cannot be the name of a picture's file")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the name {quoted(name)} stands for two pictures of the set")
    return items


class ListedPicture(BaseModel):
    """A picture in the manifest of an answer set; what else it says of it is there to be read."""

    id: str
    sha256: str | None


class AnswerManifest(BaseModel):
    """What is read of the manifest of an answer set."""

    about: dict[str, JsonValue]
    pictures: list[ListedPicture]

    @property
    def done(self) -> dict[str, str]:
        """Digests of the pictures that were made, by their names."""
        return {picture.id: picture.sha256 for picture in self.pictures if picture.sha256}


def read_manifest(path: Path) -> AnswerManifest:
    """The manifest of an answer set. Raises ValueError that names the file and what is wrong."""
    return read_record(path, AnswerManifest, "the manifest of an answer set")


def _chunks(items: Sequence[PromptItem], model: Model) -> Iterator[list[PromptItem]]:
    """Neighbours that are sampled alike, about a million pixels at a time."""

    def how(item: PromptItem) -> tuple[Any, ...]:
        return item.steps, item.guidance, item.width or model.sampler.size, item.height or model.sampler.size

    for (*_, width, height), group in groupby(items, how):
        alike = list(group)
        size = min(32, max(1, 2**20 // (width * height)))
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _make(model: Model, items: Sequence[PromptItem]) -> Tensor:
    """Pictures (b, 3, h, w) in 0–1 of items that are sampled alike. Raises ValueError for a size that the autoencoder cannot make."""
    first, factor = items[0], model.grain
    width, height = first.width or model.sampler.size, first.height or model.sampler.size
    if width % factor or height % factor:
        raise ValueError(f"picture {first.id} is {width}x{height} pixels, but the model makes multiples of {factor}")
    return model.sample(
        [item.prompt for item in items], [item.seed for item in items],
        batch=len(items), steps=first.steps, guidance_scale=first.guidance, size=(height, width),
    )  # fmt: skip


def _save(picture: Tensor, path: Path) -> str:
    """Write a PNG; its SHA-256."""
    data = picture.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    with replacing(path) as temporary:
        Image.fromarray(data).save(temporary, format="PNG")
    return digest_picture(path)
