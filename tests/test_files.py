"""Every write leaves the old file or the new one: after an exception, a full disk, or a kill in the middle."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from excise import files
from excise.files import replace

VALUE = files.FolderKind("value", lambda path: None, earlier="new")
SRC = Path(files.__file__).parents[2]


def _python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; it reads its arguments from sys.argv."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_replacing_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "first")
    files.write_text(path, "zwei\n")
    assert path.read_text(encoding="utf-8") == "zwei\n"
    assert os.listdir(path.parent) == ["a.txt"]


def test_replacing_respects_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "x")
        with files.replacing_folder(tmp_path / "b"):
            pass
        files.write_tensors(tmp_path / "c", {"x": torch.zeros(1)})
        assert os.umask(0o027) == 0o027, "reading the umask changed it"
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(error), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "result"
    with files.replacing_folder(path) as temporary:
        (temporary / "old").write_text("old")
    with pytest.raises(ValueError), files.replacing_folder(path) as temporary:
        (temporary / "new").write_text("half")
        raise ValueError
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("exchange", [True, False], ids=["one step", "two renames"])
def test_replacing_folder_takes_the_place_of_the_old_one(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(replace, "_renameat2", lambda *_: False)
    path = tmp_path / "result"
    for name in ("old", "new"):
        with files.replacing_folder(path) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / name).write_text(name)
    assert os.listdir(path / "sub") == ["new"]
    assert os.listdir(tmp_path) == ["result"]


def test_replacing_folder_keeps_a_link_and_refuses_a_file(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "old").touch()
    (tmp_path / "link").symlink_to(real)
    with files.replacing_folder(tmp_path / "link") as temporary:
        (temporary / "new").touch()
    assert os.listdir(real) == ["new"] and (tmp_path / "link").is_symlink()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"), files.replacing_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "real"]


def test_a_failure_between_two_renames_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = tmp_path / "result", os.rename
    path.mkdir()
    (path / "old").touch()

    def busy(source: Path, target: Path) -> None:
        if (source / "fresh").exists():
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(replace, "_renameat2", lambda *_: False)
    monkeypatch.setattr(os, "rename", busy)
    with pytest.raises(OSError, match="busy"), files.replacing_folder(path) as temporary:
        (temporary / "fresh").touch()
    assert os.listdir(path) == ["old"] and os.listdir(tmp_path) == ["result"]


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    """Others that write to the same path meanwhile, or to one of a similar name, leave it alone."""
    (tmp_path / ".a.0123abcd.part").mkdir()
    (tmp_path / ".a.b.0123abcd.part").mkdir()
    with files.replacing(tmp_path / "a") as temporary:
        temporary.write_text("slow")
        files.write_text(tmp_path / "a", "quick")
        assert temporary.exists()
    assert (tmp_path / "a").read_text() == "slow"
    assert sorted(os.listdir(tmp_path)) == [".a.b.0123abcd.part", "a"]


def test_where_nothing_can_be_locked_nothing_is_taken_for_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / ".a.0123abcd.part").mkdir()
    files.write_text(tmp_path / "a", "x")
    assert sorted(os.listdir(tmp_path)) == [".a.0123abcd.part", "a"]


KILLED = """
import os, signal, sys
from pathlib import Path
from excise import files
from excise.files import replace

path, point = Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "two renames":
    replace._renameat2 = lambda *_: False
calls = 0

def dying(original):
    def call(*arguments, **keywords):
        global calls
        calls += 1
        if calls == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)
    return call

for name in ("open", "fsync", "chmod", "replace", "rename", "link", "unlink", "rmdir", "sendfile", "close"):
    setattr(os, name, dying(getattr(os, name)))
replace._exchange = dying(replace._exchange)
replace._rename = dying(replace._rename)
if path.suffix:
    files.write_text(path, "new" * 1000, overwrite=sys.argv[3] == "one step")
else:
    own = None if sys.argv[3] == "one step" else lambda path: os.listdir(path)
    with files.replacing_folder(path, own) as folder:
        (folder / "value").write_text("new" * 1000)
        (folder / "new").touch()
"""


@pytest.mark.parametrize(
    "name, how", [("value.txt", "one step"), ("folder", "one step"), ("folder", "two renames"), ("folder", "own files")]
)
def test_kill_9_at_any_point_leaves_old_or_new(tmp_path: Path, name: str, how: str) -> None:
    """The process kills itself at its first, second, ... system call on files, until one run gets through."""
    found, aside = set(), 0
    for point in range(1, 60):
        path = tmp_path / str(point) / name
        if path.suffix:
            files.write_text(path, "old")
        else:
            with files.replacing_folder(path) as folder:
                (folder / "value").write_text("old")
        ended = _python(KILLED, path, point, how)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        if how == "two renames" and not path.exists():
            aside += 1
            with pytest.raises(FileExistsError, match="exists and is not a result"):
                files.check_replaceable(path, VALUE, overwrite=False)
        value = (path if path.suffix else path / "value").read_text()
        assert value in ("old", "new" * 1000)
        assert path.suffix or (path / "new").exists() == (value != "old"), "a mixture of old and new"
        found.add(value)
        if path.suffix:
            files.write_text(path, "later")
        else:
            with files.replacing_folder(path):
                pass
        assert os.listdir(path.parent) == [name], "what the killed process left is gone"
    else:
        pytest.fail("the write never got through")
    assert "old" in found and point > 4, "no kill fell into the middle of the write"
    assert (aside > 0) == (how == "two renames")


@pytest.mark.parametrize("how", ["new file", "two renames"])
def test_kill_9_at_any_point_leaves_no_file_or_a_whole_one(tmp_path: Path, how: str) -> None:
    """Of a file that may not replace another, with and without the system call for it."""
    whole = 0
    for point in range(1, 30):
        path = tmp_path / str(point) / "value.txt"
        ended = _python(KILLED, path, point, how)
        whole += path.exists()
        assert not path.exists() or path.read_text() == "new" * 1000
        if ended.returncode == 0:
            break
        files.write_text(path, "later")
        assert os.listdir(path.parent) == ["value.txt"], "what the killed process left is gone"
    assert point > 4 and whole > 1


FULL = """
import resource, sys
from pathlib import Path
import torch
from excise import files

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
path, kind = Path(sys.argv[1]), sys.argv[2]
try:
    if kind == "text":
        files.write_text(path, "x" * 100_000)
    else:
        files.write_tensors(path, {"x": torch.zeros(10**5)})
except OSError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("kind", ["text", "tensors"])
def test_a_full_disk_is_an_os_error_and_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    ended = _python(FULL, path, kind)
    assert "refused:" in ended.stdout, ended.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_tensors_round_trip_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tensors = {
        "half": torch.tensor([1.5, -0.0], dtype=torch.float16),
        "brain": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).bfloat16(),
        "turned": torch.arange(6.0).view(2, 3).T,
        "scalar": torch.tensor(3.0),
        "long": torch.tensor([2**60]),
        "trained": torch.nn.Parameter(torch.ones(2)),
        "whole": shared,
        "same": shared,
        "part": shared[2:4],
    }
    files.write_tensors(tmp_path / "t", tensors, {"a": "ü"})
    back, metadata = files.read_tensors(tmp_path / "t")
    assert metadata == {"a": "ü"}
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name
    assert torch.signbit(back["half"][1])


def test_reading_what_is_not_a_whole_safetensors_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        files.read_tensors(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        files.read_tensors(tmp_path)
    files.write_tensors(tmp_path / "t", {"x": torch.arange(1000.0)})
    whole = (tmp_path / "t").read_bytes()
    damaged = [b"", whole[:5], whole[:60], whole[:-1], whole + b"x", b"\xff" * 100, b"PK\x03\x04" + bytes(100)]
    for content in damaged:
        (tmp_path / "t").write_bytes(content)
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            files.read_tensors(tmp_path / "t")


def test_reading_what_is_not_a_whole_json_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        files.read_json(tmp_path / "missing")
    files.write_json(tmp_path / "t.json", {"a": ["ü", None]})
    assert files.read_json(tmp_path / "t.json") == {"a": ["ü", None]}
    whole = (tmp_path / "t.json").read_bytes()
    for content in (b"", whole[:-3], whole + b"}", b"\xff\xfe", b"[" * 100_000, b"[1]", b"3", b"null"):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"/t\.json is (not a whole JSON file \(.+\)|UTF-16; save it as UTF-8)$"):
            files.read_json(tmp_path / "t.json")
    files.write_json(tmp_path / "t.json", [1])
    assert files.read_json(tmp_path / "t.json", list) == [1]


def test_equal_tensors_and_metadata_give_equal_bytes(tmp_path: Path) -> None:
    metadata = {f"key {number}": 'é "\\/\n\x01\x7f\u2028' * number for number in range(12)}
    written = set()
    for attempt in range(8):
        path = tmp_path / f"{attempt}.safetensors"
        files.write_tensors(path, {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int64)}, metadata)
        assert files.read_tensors(path)[1] == metadata
        written.add(path.read_bytes())
    assert len(written) == 1
