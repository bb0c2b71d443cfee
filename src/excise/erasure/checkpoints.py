"""Where an erasure keeps what it has done: a hidden folder beside its result, gone once the result is there."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.edits.manifest import EDIT
from excise.files import FolderKind, PathTaken, check_replaceable, read_json, real_path, write_json


class DamagedCheckpointError(ValueError):
    """A checkpoint that cannot be gone on from. The message says how to go on without it."""

    def __init__(self, path: Path, error: object) -> None:
        super().__init__(f"{error}; delete {path} and resume again: what it held is made anew")


@dataclass(frozen=True)
class Workplace:
    """The result's folder, of what kind it is, and `.NAME.work` beside it with the checkpoint and what run it belongs to."""

    out: Path
    kind: FolderKind = EDIT

    @property
    def folder(self) -> Path:
        out = real_path(self.out)
        return out.with_name(f".{out.name}.work")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def picture(self) -> Path:
        """Before and after, from when it is made until it lies in the result."""
        return self.folder / "before_after.png"

    @property
    def checkpoints(self) -> list[Path]:
        """Those that are there: a method that erases one concept after the other writes `checkpoint-1.safetensors`, ... too."""
        return sorted(self.folder.glob("checkpoint*.safetensors"))

    @property
    def identity(self) -> Path:
        return self.folder / "run.json"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Raise FileExistsError if a result or an unfinished run would be lost."""
        check_replaceable(self.out, self.kind, overwrite)
        if self.checkpoints and not (resume or overwrite):
            raise FileExistsError(
                f"{self.folder} holds an unfinished run; pass resume to go on with it, or overwrite to start anew"
            )

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The hidden folder is there inside the block, and deleted when there is a result; when there is none, checkpoints are kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            yield
        except BaseException as error:
            if isinstance(error, PathTaken) or not self.checkpoints:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        shutil.rmtree(self.folder)

    def claim(self, identity: dict[str, Any], *, resume: bool) -> float:
        """Say which run the checkpoints belong to; returns the seconds of erasing that those already there hold.

        Those of an earlier run that is not resumed are deleted only here, where the new one can begin. Raises ValueError if they belong to
        another run.
        """
        identity, spent = json.loads(json.dumps(identity)), 0.0
        if not resume:
            for old in self.checkpoints:
                old.unlink()
        if self.checkpoints:
            before = self._begun()
            differing = [
                f"{key} was {before.get(key)!r}, now {identity[key]!r}" for key in identity if before.get(key) != identity[key]
            ]
            if differing:
                raise ValueError(
                    f"{self.folder} belongs to another run ({'; '.join(differing)}); use the same options, or overwrite"
                )
            newest = max(path.stat().st_mtime for path in self.checkpoints)
            stretch = newest - self.identity.stat().st_mtime
            spent = before["seconds"] + max(0.0, stretch)
        write_json(self.identity, {**identity, "seconds": spent})
        return spent

    def _begun(self) -> dict[str, Any]:
        """What `run.json` says of the run that the checkpoints belong to. Raises ValueError that says how to go on if it is damaged."""
        try:
            before: dict[str, Any] = read_json(self.identity)
            seconds = before.get("seconds")
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise ValueError(f"{self.identity} is damaged: seconds is {str(seconds)[:200]}, expected a number from 0 on")
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{error}; nothing shows which run was stopped: start anew with overwrite, or delete {self.folder}"
            ) from None
        return before

    @contextmanager
    def claimed(self, identity: dict[str, Any], *, resume: bool, again: str = "with --resume ") -> Iterator[float]:
        """`claim`; an error inside the block says that the checkpoints, which are this run's, are kept.

        again  how the same command is given to go on, with a blank behind it; "": as it was
        """
        spent = self.claim(identity, resume=resume)
        try:
            yield spent
        except DamagedCheckpointError:
            raise  # it says itself how to go on
        except BaseException as error:
            if self.checkpoints and not isinstance(error, PathTaken):
                error.add_note(f"what was done is kept: give the same command {again}to go on")
            raise
