"""The folders of one case, and what has become of the files in them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

Look = tuple[int | str, ...]
"""What a path is: of a file its kind, mode, inode, size and time of writing; of a link where it points."""

SECRET = "5 a 3 c 9 e 1"
"""What the user's file `secret.txt` holds, which links may lead to and no result may."""

PARTS = ("work", "home", "tmp", "outside")


class Sandbox:
    """One case's folders below `root`.

    work     where commands run: the user's files, hostile ones, results
    home     the user's home, with the cache
    tmp      for temporary files: empty when a command has ended
    outside  what no file may lead to: nothing here may be opened
    """

    def __init__(self, root: Path, world: Path) -> None:
        self.root, self.world = root, world
        self.work, self.home, self.tmp, self.outside = (root / part for part in PARTS)
        for part in PARTS:
            (root / part).mkdir(parents=True)
        (self.work / "notes.txt").write_text("the user's own\n")
        (self.home / "secret.txt").write_text(SECRET)
        (self.outside / "private.txt").write_text("nobody's business\n")
        good = world / "partial.safetensors"
        (self.outside / "o.safetensors").write_bytes(good.read_bytes() if good.exists() else b"")
        for path in self.outside.iterdir():
            os.utime(path, ns=(0, 10**18))  # read before it was written: the system notes the first reading, whoever reads

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "excise"

    def take(self, name: str | Path, to: str | Path | None = None) -> Path:
        """Something good of the world, in `work` or at `to`; of hard links, so call `own` before you write into one."""
        target = self.work / (to or name)
        if (self.world / name).is_dir():
            shutil.copytree(self.world / name, target, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.world / name, target)
        return target

    def own(self, path: Path, data: bytes) -> None:
        """Write a file that the world does not share; whatever was there is gone."""
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def looks(self) -> dict[str, Look]:
        """Every path of the sandbox and what it is."""
        return {str(path.relative_to(self.root)): _look(path) for part in PARTS for path in _below(self.root / part)}

    def opened(self) -> list[str]:
        """Files outside that somebody has read."""
        return [path.name for path in _below(self.outside) if path.is_file() and os.lstat(path).st_atime_ns != 0]

    def delete(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def remove(path: Path) -> None:
    """Take away whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place) / name


def _look(path: Path) -> Look:
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISDIR(found.st_mode):
        return ("folder",)
    return (stat.S_IFMT(found.st_mode), found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns)
