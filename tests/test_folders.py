"""What may be replaced: files that the package wrote, never a byte of anybody else's."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from excise import files
from excise.edits.manifest import EDIT
from excise.files import replace
from excise.requests.apply import APPLIED
from excise.requests.audits import AUDIT
from excise.requests.bench import BENCH
from excise.requests.generate import PICTURES


def _check(path: Path) -> None:
    if "about" not in files.read_json(path):
        raise ValueError(f"{path} is somebody else's")


KIND = files.FolderKind("marker.json", _check, earlier=r"data/[^/]+\.bin|card\.md")


def _write(
    folder: Path, names: tuple[str, ...] = ("card.md", "data/0.bin"), text: str = "ours", overwrite: bool = False
) -> None:
    """A result of the kind."""
    with files.new_result(folder, KIND, overwrite) as new:
        for name in names:
            files.write_text(new / name, text)
        files.write_json(new / "marker.json", {"about": text})


def _content(folder: Path) -> dict[str, str]:
    """Every file below a folder, in hidden folders too."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_result_lists_its_files(tmp_path: Path) -> None:
    _write(tmp_path / "x")
    assert json.loads((tmp_path / "x" / "marker.json").read_text()) == {"about": "ours", "written": ["card.md", "data/0.bin"]}


def test_only_a_result_may_be_replaced(tmp_path: Path) -> None:
    files.check_replaceable(tmp_path / "new", KIND, overwrite=False)
    files.check_replaceable(tmp_path, KIND, overwrite=False)
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"it has no marker\.json"):
            files.check_replaceable(tmp_path, KIND, overwrite)
    _write(tmp_path / "x")
    with pytest.raises(FileExistsError, match="or pass overwrite"):
        files.check_replaceable(tmp_path / "x", KIND, overwrite=False)
    assert files.check_replaceable(tmp_path / "x", KIND, overwrite=True) == {"marker.json", "card.md", "data/0.bin"}


@pytest.mark.parametrize(
    "content", ["{}", "[]", "", "{", "null", '{"format": 1}', '{"written": ["thesis.tex"]}', "\0", "[" * 9999]
)
@pytest.mark.parametrize("kind", [KIND, EDIT, PICTURES, APPLIED, AUDIT, BENCH], ids=lambda kind: str(kind.marker))
def test_a_marker_of_somebody_else_is_no_marker(kind: files.FolderKind, content: str, tmp_path: Path) -> None:
    (tmp_path / kind.marker).write_text(content)
    with pytest.raises(FileExistsError, match=f"is not a result that could be replaced .*{re.escape(kind.marker)}"):
        files.check_replaceable(tmp_path, kind, True)
    with pytest.raises(ValueError, match=re.escape(kind.marker)):
        files.check_ours(tmp_path, kind)
    assert (tmp_path / kind.marker).read_text() == content


def test_what_a_result_always_had_is_its_own_where_nothing_is_listed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("card.md", "data/7.bin", "marker.json"):
        (tmp_path / name).write_text('{"about": "earlier"}')
    assert files.check_replaceable(tmp_path, KIND, True) == {"card.md", "data/7.bin", "marker.json"}
    (tmp_path / "data" / "7.bin.txt").touch()
    with pytest.raises(FileExistsError, match=r"data/7\.bin\.txt in it was not written by excise"):
        files.check_replaceable(tmp_path, KIND, True)


NAMES = st.sampled_from(
    ["card.md", "data/0.bin", "data/1.bin", "notes.txt", "data/notes", "data/sub/x", ".hidden", "card.md.bak", "marker.json.old",
     ".card.md.0123abcd.part", ".x.lock", ".DS_Store", "Card.md", "cards", "ü/ñ", "written"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=st.sets(NAMES, min_size=1), theirs=st.sets(NAMES), listed=st.booleans(), late=st.booleans())
def test_no_byte_of_anybody_else_is_lost(
    ours: set[str], theirs: set[str], listed: bool, late: bool, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is in a result's folder, before the run or once it works: it is there afterwards."""
    root = tmp_path_factory.mktemp("r")
    monkeypatch.setattr(replace, "_flush", lambda path: None)  # which only a power cut needs
    folder = root / "x"
    _write(folder, tuple(ours - theirs))
    if not listed:
        (folder / "marker.json").write_text('{"about": "earlier"}')

    added: set[str] = set()

    def add() -> None:
        for name in theirs:
            added.add(name)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("theirs")

    if not late:
        add()
        before = _content(root)
    own = {name for name in (ours - theirs) | (set() if listed else theirs) if listed or re.fullmatch(KIND.earlier, name)}
    foreign = ((ours - theirs) | theirs) - own
    try:
        files.check_replaceable(folder, KIND, True)
        with files.new_result(folder, KIND, True) as new:
            files.write_text(new / "fresh", "new")
            files.write_json(new / "marker.json", {"about": "new"})
            if late:
                add()
    except FileExistsError as error:
        assert any(f": {name} in it was not" in str(error) for name in foreign)
        assert late or _content(root) == before
    except replace.PathTaken as error:
        assert late and str(error).endswith(str(root / "x-2"))
        assert (root / "x-2" / "fresh").read_text() == "new"
        assert {f"x/{name}": "theirs" for name in theirs}.items() <= _content(root).items()
    else:
        assert not foreign
        assert _content(root).keys() == {"x/fresh", "x/marker.json"}
    for name in foreign & added:
        assert (folder / name).read_text() == "theirs"


def test_links_pipes_and_empty_folders_are_somebodys(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "0.bin").write_text("theirs")
    made = (
        lambda path: path.symlink_to(tmp_path / "precious"), lambda path: path.symlink_to(tmp_path / "nowhere"), os.mkfifo, os.mkdir,
    )  # fmt: skip
    for number, make in enumerate(made):
        _write(tmp_path / str(number))
        make(tmp_path / str(number) / "more")
        with pytest.raises(FileExistsError, match="more in it was not written"):
            files.check_replaceable(tmp_path / str(number), KIND, True)
    _write(tmp_path / "x", ("card.md",))
    (tmp_path / "x" / "data").symlink_to(tmp_path / "precious")
    (tmp_path / "x" / "marker.json").write_text('{"about": "", "written": ["card.md", "data", "../precious/0.bin"]}')
    _write(tmp_path / "x", overwrite=True)
    assert (tmp_path / "precious" / "0.bin").read_text() == "theirs"


def test_files_that_come_while_a_folder_is_replaced_are_kept(tmp_path: Path) -> None:
    """Somebody writes notes into a result all the time while it is replaced again and again: every note is somewhere in the end."""
    folder, stop, written = tmp_path / "x", threading.Event(), []
    _write(folder)

    def scribble() -> None:
        while not stop.wait(0.0005) and len(written) < 300:
            name = f"note-{len(written)}"
            try:
                handle = os.open(folder / name, os.O_CREAT | os.O_WRONLY)
            except FileNotFoundError:
                continue
            os.write(handle, name.encode())
            os.close(handle)
            written.append(name)

    thread = threading.Thread(target=scribble)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread.start()
        for _ in range(20):
            try:
                with files.new_result(folder, KIND, True) as new:
                    files.write_json(new / "marker.json", {"about": "again"})
            except replace.PathTaken:
                for note in folder.glob("note-*"):
                    os.rename(note, tmp_path / f"moved-{note.name}")
        stop.set()
        thread.join()
    found = {path.name.removeprefix("moved-") for path in tmp_path.rglob("*note-*")}
    assert set(written) <= found and written


def test_a_file_that_comes_in_the_last_instant_is_kept_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "x")
    exchange = replace._exchange

    def late(new: Path, path: Path, aside: Path) -> Path:
        (path / "thesis.tex").write_text("theirs")
        return exchange(new, path, aside)

    monkeypatch.setattr(replace, "_exchange", late)
    with pytest.warns(UserWarning, match=r"came to .*x while it was replaced are kept in .*x-2"):
        _write(tmp_path / "x", text="new", overwrite=True)
    assert _content(tmp_path / "x-2") == {"thesis.tex": "theirs"}
    assert (tmp_path / "x" / "card.md").read_text() == "new"


@pytest.mark.parametrize("how", ["renameat2", "link", "neither"])
def test_what_comes_while_a_run_works_is_not_replaced(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is kept under the first free name, and the error says which."""
    if how != "renameat2":
        monkeypatch.setattr(replace, "_renameat2", lambda *_: False)
    if how == "neither":

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", link)
    (tmp_path / "a-2.json").write_text("also there")
    said = r"a\.json came while this run worked.*not lost: .*/a-3\.json$"
    with pytest.raises(replace.PathTaken, match=said), files.replacing(tmp_path / "a.json", overwrite=False) as temporary:
        temporary.write_text("result")
        (tmp_path / "a.json").write_text("theirs")
    with (
        pytest.raises(replace.PathTaken, match=r"/x .*not lost: .*/x-2$"),
        files.replacing_folder(tmp_path / "x", lambda _: ()) as new,
    ):
        (new / "y").write_text("result")
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "z").write_text("theirs")
    for name, came in (("f", Path.touch), ("link", lambda path: path.symlink_to("nowhere"))):
        with pytest.raises(replace.PathTaken), files.replacing(tmp_path / name, overwrite=False) as temporary:
            temporary.write_text("result")
            came(tmp_path / name)
    with pytest.raises(replace.PathTaken, match=r"/d-2$"), files.replacing_folder(tmp_path / "d", lambda _: ()) as new:
        (tmp_path / "d").write_text("a file came")
    assert _content(tmp_path) == {
        "a.json": "theirs", "a-2.json": "also there", "a-3.json": "result", "x/z": "theirs", "x-2/y": "result",
        "f": "", "f-2": "result", "link-2": "result", "d": "a file came",
    }  # fmt: skip
    with files.replacing(tmp_path / "new", overwrite=False) as temporary:
        temporary.write_text("free")
    assert (tmp_path / "new").read_text() == "free" and not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_new_file_may_be_where_nothing_is(tmp_path: Path) -> None:
    files.check_new_file(None, False)
    files.check_new_file(tmp_path / "new" / "a", False)
    (tmp_path / "a").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    files.check_new_file(tmp_path / "a", True)
    for name, overwrite, words in (
        ("a", False, "pass overwrite"), ("link", False, "pass overwrite"), ("pipe", True, "is no file"), ("", True, "is a folder"),
    ):  # fmt: skip
        with pytest.raises(FileExistsError, match=words):
            files.check_new_file(tmp_path / name, overwrite)


def test_a_result_that_grows_adds_its_files_and_no_others(tmp_path: Path) -> None:
    assert files.check_ours(tmp_path / "x", KIND, ["a", "data/b"]) == ("a", "data/b")
    files.write_json(tmp_path / "x" / "marker.json", {"about": "", "written": ["a"]})
    for name in ("a", "notes.txt", "data/b"):
        files.write_text(tmp_path / "x" / name, "")
    assert files.check_ours(tmp_path / "x", KIND, ["a", "c"]) == ("a", "c"), "notes may lie there"
    with pytest.raises(FileExistsError, match="/data/b exists and was not written by excise"):
        files.check_ours(tmp_path / "x", KIND, ["a", "data/b"])
    files.delete_files(tmp_path / "x", ["a"])
    assert sorted(_content(tmp_path / "x")) == ["data/b", "marker.json", "notes.txt"]


def test_what_a_killed_write_left_is_nothing(tmp_path: Path) -> None:
    (tmp_path / ".marker.json.ab12cd_9.part").mkdir()
    assert files.vacant(tmp_path)
    files.check_replaceable(tmp_path, KIND, overwrite=False)
    files.check_ours(tmp_path, KIND)
    _write(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["card.md", "data", "marker.json"]
    (tmp_path / ".marker.json.ab12cd_9.part").touch()
    with pytest.raises(FileExistsError, match="part in it was not written"):
        files.check_replaceable(tmp_path, KIND, True)


def test_a_folder_that_looks_like_a_leftover_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / ".x.download.part").mkdir()
    (tmp_path / ".x.download.part" / "film").write_text("theirs")
    _write(tmp_path / "x")
    assert (tmp_path / ".x.download.part" / "film").read_text() == "theirs"


def test_a_mount_point_is_added_to_but_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "disk")
    for path in (tmp_path / "disk", tmp_path / "link"):
        files.check_ours(path, KIND)
        with pytest.raises(FileExistsError, match=r"is a mount point, .* give a folder in it"):
            files.check_replaceable(path, KIND, overwrite=True)
        files.check_replaceable(path / "cat", KIND, overwrite=False)


HOLD = """
import sys
from pathlib import Path
from excise import files

with files.writing(Path(sys.argv[1])):
    print("there", flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_the_second_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    path = tmp_path / "out" / "x"
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[2])}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdout.readline() == "there\n"
    lock = tmp_path / "out" / ".x.lock"
    assert lock.read_text() == str(holder.pid)
    os.utime(lock, (0, lock.stat().st_mtime - 200))
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "out" / ".." / "out" / "x", tmp_path / "link"):
        with (
            pytest.raises(
                FileExistsError, match=rf"x is being written by process {holder.pid} \(for 3 minutes\); wait|link is being"
            ),
            files.writing(name),
        ):
            pass
    with files.writing(tmp_path / "out" / "y"):
        pass
    holder.kill()
    holder.communicate()
    with files.writing(path):
        assert os.listdir(path.parent) == [".x.lock"]
    assert os.listdir(path.parent) == []


def test_one_run_may_write_to_several_places(tmp_path: Path) -> None:
    with (
        files.writing(tmp_path / "x", tmp_path / "x", tmp_path / "a" / "y.json"),
        pytest.raises(FileExistsError, match=r"y\.json is being"),
        files.writing(tmp_path / "z", tmp_path / "a" / "y.json"),
    ):
        pass
    with files.writing(tmp_path / "z", tmp_path / "a" / "y.json"):
        files.write_text(tmp_path / "a" / "y.json", "made")
    assert _content(tmp_path) == {"a/y.json": "made"}


def test_of_many_at_once_one_gets_through_at_a_time(tmp_path: Path) -> None:
    inside, most, through = [], [], []

    def work() -> None:
        for _ in range(40):
            try:
                with files.writing(tmp_path / "x"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    through.append(1)
            except FileExistsError:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and through and os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_disk_in_a_folder_that_nobody_may_write_to_holds_its_own_lock(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    tmp_path.chmod(0o555)
    with files.writing(tmp_path / "disk"):
        assert os.listdir(tmp_path / "disk") == [".disk.lock"] and files.vacant(tmp_path / "disk")
