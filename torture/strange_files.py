"""What can stand where a file is expected: pickles, links, pipes, folders, files without an end."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from random import Random

from torture.sandbox import Sandbox, remove

STRANGE = ("fifo", "folder", "loop", "dangling", "elsewhere", "huge", "zero", "empty")


def put_strange(sandbox: Sandbox, path: Path, random: Random) -> str:
    """Put one of `STRANGE` where a file was; returns which."""
    kind = random.choice(STRANGE)
    remove(path)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "elsewhere":
        path.symlink_to(sandbox.home / "secret.txt")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**36)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"")
    return kind


class _Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


def pickled(sandbox: Sandbox, random: Random) -> bytes:
    """A pickle as torch writes it (a zip, or bare) that makes a file in `outside` when it is opened."""
    body = pickle.dumps(_Canary(sandbox.outside / "pickle-was-opened"), protocol=random.choice((0, 2, 4)))
    if random.random() < 0.5:
        return body
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/version", "3\n")
    return out.getvalue()
