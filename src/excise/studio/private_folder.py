"""What one person has made: a folder below the root that nobody else is shown. What the page sends are names, never paths."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from excise.digests import digest_text
from excise.edits.manifest import EDIT, MANIFEST, TENSORS, Manifest
from excise.files import at_home, copy_file, new_result, read_json, real_path, write_json
from excise.models.built_in import BUILT_IN
from excise.quoting import quoted
from excise.results.erasure import ErasureResult

PEOPLE = "people"
"""The folder below the root in which everybody has one."""

EXAMPLE = "example"
"""Name of the edit that ships with the studio and that everybody is shown."""

ABOUT = "about.json"

_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def model_name(text: str, root: Path, offered: Sequence[str] = ()) -> str:
    """The model that somebody names on the page, as the jobs take it: built in, offered, below the root, or a hub id.

    Raises ValueError for anything else. A folder elsewhere and none at all are told in the same words, so that nobody learns what is there.
    """
    text = text.strip()
    if text in BUILT_IN or text in offered:
        return text
    refused = ValueError(
        f"no such model here: {quoted(text)} is not built in, not below the studio's folder, and no hub id (owner/name)"
    )
    if not text or "\0" in text or len(text) > 1000:
        raise refused
    inside, found = real_path(root), real_path(root / at_home(text))
    if found.exists() and inside in found.parents and not found.is_relative_to(inside / PEOPLE):
        return str(found)
    if _HUB_ID.fullmatch(text) and not text.startswith(".") and not (found.exists() or Path(text).exists()):
        return text
    raise refused


@dataclass(frozen=True)
class KeptEdit:
    """An edit on the page.

    name    what the page sends for it
    label   what people read
    model   what it was made for, as the jobs take it
    folder  of the edit itself
    """

    name: str
    label: str
    model: str
    folder: Path

    def result(self) -> ErasureResult | None:
        """What was measured of it; None if nothing was."""
        return Manifest.of(self.folder).result(self.folder / MANIFEST)


def example() -> KeptEdit:
    """The finished edit that the first screen shows."""
    return KeptEdit(EXAMPLE, "cat (example)", "canvas", Path(__file__).parent / EXAMPLE)


class PrivateFolder:
    """The folder of one person.

    root    of the studio
    person  who it is: only a digest of it becomes a name, so that what a browser sends never is a path
    """

    def __init__(self, root: Path, person: str) -> None:
        self.path = real_path(root) / PEOPLE / digest_text(person)[:32]

    def edits(self, model: str) -> list[KeptEdit]:
        """The person's edits of a model, the oldest first, after the example if it is of that model."""
        own = [edit for edit in map(self._read, sorted(self.path.glob("*-*"))) if edit is not None and edit.model == model]
        return [*([example()] if example().model == model else []), *own]

    def find(self, names: Sequence[str], model: str) -> list[KeptEdit]:
        """The edits of these names. Raises ValueError for one that the person does not have."""
        known = {edit.name: edit for edit in self.edits(model)}
        if missing := [name for name in names if name not in known]:
            raise ValueError(f"you have no edit {quoted(missing[0])} of this model")
        return [known[name] for name in names]

    def new(self, label: str, model: str) -> Path:
        """A new folder for an edit, whose files come to `edit` in it."""
        number = 1 + max((int(path.name[:4]) for path in self.path.glob("[0-9]" * 4 + "-*")), default=0)
        same = sum(edit.label.startswith(label) for edit in self.edits(model) if edit.name != EXAMPLE)
        label = f"{label} {same + 1}" if same else label
        folder = self.path / f"{number:04d}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        write_json(folder / ABOUT, {"label": label, "model": model})
        return folder

    def take_in(self, files: Sequence[Path], model: str) -> Path:
        """Copy an edit that was uploaded into a new folder. Raises ValueError unless it is the two files of one, as far as their names and
        the manifest say."""
        named = {path.name: path for path in files}
        if len(files) != 2 or named.keys() != {MANIFEST, TENSORS}:
            raise ValueError(f"an edit is two files: {MANIFEST} and {TENSORS}; unzip it first if it came as one")
        manifest = Manifest.read(named[MANIFEST])
        folder = self.new(", ".join(concept["name"] for concept in manifest.concepts) + " (uploaded)", model)
        with new_result(folder / "edit", EDIT, overwrite=False) as inside:
            for name, path in named.items():
                copy_file(path, inside / name)
        return folder

    def _read(self, folder: Path) -> KeptEdit | None:
        """The edit in one of the folders; None while it is being made."""
        if not (folder / "edit" / MANIFEST).is_file():
            return None
        about = read_json(folder / ABOUT)
        return KeptEdit(folder.name, about["label"], about["model"], folder / "edit")
