"""Links, pipes and private files in the folders that are copied."""

from __future__ import annotations

import os
from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import SECRET, Sandbox


def play(sandbox: Sandbox, random: Random) -> Played:
    """Apply an edit to a model with something in its folder that is no file of it: nothing of that may be copied or waited for."""
    model = sandbox.take("tiny")
    sandbox.take("uce")
    folder = random.choice(
        (model, model / "unet", model / "vae", model / "tokenizer", model / "text_encoder", model / "scheduler")
    )
    for _ in range(random.choice((1, 1, 3))):
        path = folder / f"more-{random.randrange(100)}{random.choice(('', '.json', '.txt', '.py'))}"
        if not path.is_symlink() and not path.exists():
            random.choice((_to_private, _to_folder, _loop, _pipe, _code, _mode))(sandbox, path)
    played = attempt(sandbox, "apply uce --model tiny --to made", ("made",))
    for file in (sandbox.work / "made").rglob("*"):
        if file.is_symlink() or (file.is_file() and file.stat().st_size < 1000 and SECRET.encode() in file.read_bytes()):
            played = played.and_wrong("outside", f"{file.relative_to(sandbox.work)} leads to, or holds, a private file")
        elif file.stat().st_mode & 0o7000 or not os.access(file, os.R_OK):
            played = played.and_wrong("left", f"{file.relative_to(sandbox.work)} has mode {file.stat().st_mode:o}")
    return played


def _to_private(sandbox: Sandbox, path: os.PathLike[str]) -> None:
    os.symlink(sandbox.home / "secret.txt", path)


def _to_folder(sandbox: Sandbox, path: os.PathLike[str]) -> None:
    os.symlink(sandbox.home, path)


def _loop(sandbox: Sandbox, path: os.PathLike[str]) -> None:
    os.symlink(".", path)


def _pipe(sandbox: Sandbox, path: os.PathLike[str]) -> None:
    os.mkfifo(path)


def _code(sandbox: Sandbox, path: os.PathLike[str]) -> None:
    with open(path, "w") as file:
        file.write("import os\nos.system('touch pwned')\n")


def _mode(sandbox: Sandbox, path: os.PathLike[str]) -> None:
    with open(path, "w") as file:
        file.write("set")
    os.chmod(path, 0o4755)


KIND = Kind("links", "links, pipes and private files in model folders", 10, play)
