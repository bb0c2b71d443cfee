"""What may be replaced: files that the package wrote, never anything else.

Every kind of result folder has a marker, a JSON file that says what the result is. Its key "written" lists the other files of the result. A
file that is not listed is somebody else's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from excise.files.locks import lock_file
from excise.files.places import real_path
from excise.files.read import read_json
from excise.files.replace import TEMPORARY, recover, replacing_folder
from excise.files.write import write_json

WRITTEN = "written"
"""Key of a marker: the names of the other files that were written, "/" between folders."""


@dataclass(frozen=True)
class FolderKind:
    """A kind of result folder.

    marker  the file that makes a folder one
    check   raises ValueError for a marker that is somebody else's, or damaged
    earlier a pattern of the files that results had before markers listed them
    """

    marker: str
    check: Callable[[Path], object]
    earlier: str

    def written(self, folder: Path) -> set[str]:
        """The files that the result wrote. Raises FileExistsError if the folder has no marker, ValueError as `check` does."""
        marker = folder / self.marker
        if not marker.is_file():
            raise FileExistsError(
                f"{folder} exists and is not a result that could be replaced (it has no {self.marker}); choose another path"
            )
        self.check(marker)
        there, listed = set(_entries(folder)), read_json(marker).get(WRITTEN)
        if listed is None:
            return {self.marker, *(name for name in there if re.fullmatch(self.earlier, name))}
        return {self.marker, *(name for name in there if isinstance(listed, list) and name in listed)}


def vacant(path: Path) -> bool:
    """Whether nothing is at `path`, or a folder that is empty but for what killed writes left."""
    return not path.exists() or (path.is_dir() and not any(_entries(path)))


def _entries(folder: Path) -> Iterator[str]:
    """Names of all files in and below a folder, of links and of empty folders; what killed writes left is none."""
    lock = lock_file(real_path(folder))
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not TEMPORARY.fullmatch(name)]
        links = [name for name in folders if (here / name).is_symlink()]
        if here != folder and not files and not folders:
            yield here.relative_to(folder).as_posix()
        yield from ((here / name).relative_to(folder).as_posix() for name in (*files, *links) if real_path(here) / name != lock)


def check_ours(folder: Path, kind: FolderKind, names: Iterable[str] = ()) -> tuple[str, ...]:
    """The files of a result that grows, once a run has written `names` too.

    Raises FileExistsError unless `folder` is vacant or holds such a result, and for one of the names that is there and not its own;
    ValueError for a marker that is damaged or somebody else's.
    """
    written = set() if vacant(folder) else kind.written(folder)
    for name in names:
        if name not in written and os.path.lexists(folder / name):
            raise FileExistsError(f"{folder / name} exists and was not written by excise; move it away, or choose another path")
    return tuple(sorted((written | set(names)) - {kind.marker}))


def check_replaceable(folder: Path, kind: FolderKind, overwrite: bool) -> set[str]:
    """The files of the result that a new one would replace. Raises FileExistsError unless one may be written to `folder`.

    It may if nothing is there, or an empty folder, or `overwrite` is set and the folder holds a result of this kind and nothing else. A
    mount point cannot be replaced. Raises NotADirectoryError or PermissionError where nothing can be written.
    """
    recover(real_path(folder))
    if os.path.ismount(real_path(folder)):
        raise FileExistsError(f"{folder} is a mount point, which cannot be replaced; give a folder in it")
    _check_writable(folder)
    if vacant(folder):
        return set()
    try:
        written = kind.written(folder)
    except ValueError as error:
        raise FileExistsError(
            f"{folder} exists and is not a result that could be replaced ({error}); choose another path"
        ) from None
    if not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, or pass overwrite to replace it")
    if foreign := min(set(_entries(folder)) - written, default=None):
        raise FileExistsError(
            f"{folder} cannot be replaced: {foreign} in it was not written by excise; move it away, or choose another path"
        )
    return written


@contextmanager
def new_result(folder: Path, kind: FolderKind, overwrite: bool) -> Iterator[Path]:
    """A temporary folder for a result; on success its marker lists its files, and it takes the place of `folder`.

    As `replacing_folder`. In the end it looks again whether `folder` may be replaced: if not, the result gets a free name beside it.
    """
    with replacing_folder(folder, lambda path: check_replaceable(path, kind, overwrite)) as new:
        yield new
        marker = new / kind.marker
        write_json(marker, {**read_json(marker), WRITTEN: sorted(set(_entries(new)) - {kind.marker})})


def check_new_file(path: str | Path | None, overwrite: bool) -> None:
    """Raise FileExistsError if a file is there and may not be replaced, or something else is there; NotADirectoryError or PermissionError
    where nothing can be written."""
    if path is None:
        return
    _check_writable(Path(path))
    if not os.path.lexists(path):
        return
    if Path(path).exists() and not Path(path).is_file():
        raise FileExistsError(f"{path} is a folder; give a file's path" if Path(path).is_dir() else f"{path} is no file")
    if not overwrite:
        raise FileExistsError(f"{path} exists; choose another path, or pass overwrite to replace it")


def _check_writable(path: Path) -> None:
    if circle := next((each for each in (path, *path.parents) if os.path.islink(real_path(each))), None):
        raise FileExistsError(f"{circle} is one of links in a circle; choose another path")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise PermissionError(f"{path} cannot be written: no permission to write into {above}")
