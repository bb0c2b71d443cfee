"""The cache: what can be made again is kept where the system allows that. Nothing depends on it, and nothing damaged in it is believed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.digests import digest_tensors, digest_values
from excise.files.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

_DAMAGED = (ValueError, TypeError, KeyError, RuntimeError)
"""What a file raises on its way through readers if it is not as it was written."""

_told: set[str] = set()


def cache_folder() -> Path | None:
    """Where things that can be made again are kept: `$EXCISE_CACHE`, or `excise` in the user's cache folder; None where nobody has a home.

    A variable that is empty counts as not set.
    """
    if own := os.environ.get("EXCISE_CACHE"):
        return Path(own)
    if users := os.environ.get("XDG_CACHE_HOME"):
        return Path(users) / "excise"
    try:
        return Path.home() / ".cache" / "excise"
    except RuntimeError as error:
        tell_not_kept("~/.cache", error)
        return None


def tell_not_kept(where: object, why: Exception) -> None:
    """Warn, once in a process for each place, that nothing can be kept there."""
    if str(where) not in _told:
        _told.add(str(where))
        warnings.warn(
            f"nothing can be kept in {where} ({why}); going on without, so some things will be made again", stacklevel=3
        )


@dataclass(frozen=True)
class Entry:
    """What was kept: tensors by name, and plain values that JSON can hold."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    about: Any = None


class Shelf:
    """Entries in a folder, each a safetensors file with a digest over its place and content. A disk that fails only costs the keeping.

    root   what the user knows of, such as the cache folder; None: nothing is kept
    names  of the folders inside
    """

    def __init__(self, root: Path | None, *names: str) -> None:
        self.root, self.names = root, names

    def get(self, name: str) -> Entry | None:
        """The entry of that name; None if it is not there, or not as it was kept."""
        if self.root is None:
            return None
        try:
            tensors, metadata = read_tensors(self._path(name))
            entry = Entry(tensors, json.loads(metadata["about"]))
            return entry if metadata["sha256"] == self._digest(name, entry) else None
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                tell_not_kept(self.root, error)
            return None
        except _DAMAGED:
            return None

    def put(self, name: str, tensors: Mapping[str, Tensor], about: Any = None) -> None:
        """Keep an entry in place of an earlier one; where the disk does not take it, tell that once and go on."""
        if self.root is None:
            return
        entry = Entry({key: tensor.detach().cpu() for key, tensor in tensors.items()}, about)
        try:
            write_tensors(self._path(name), entry.tensors, {"about": json.dumps(about), "sha256": self._digest(name, entry)})
        except OSError as error:
            tell_not_kept(self.root, error)

    def _path(self, name: str) -> Path:
        assert self.root is not None
        return self.root.joinpath(*self.names, f"{name}.safetensors")

    def _digest(self, name: str, entry: Entry) -> str:
        return digest_values([*self.names, name, digest_tensors(entry.tensors), entry.about])


NOWHERE = Shelf(None)
"""Nothing is kept."""
