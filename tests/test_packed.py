"""Many JSON files in one: the same bytes for the same contents, nothing lost at any moment, and what strangers write is refused by line."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from excise import bounds
from excise.files import pack, packed_path, read_files, read_packed, write_json, write_packed

CONTENTS: dict[str, dict[str, Any]] = {
    "a/1.json": {"float": 0.1 + 0.2, "whole": 2.0, "one": 1, "yes": True, "none": None, "text": "größe\u2028猫\n\x85 'x'"},
    "a/2.json": {},
    "b/1.json": {"deep": {"list": [[1, [2]], {"": 2**64 - 1}]}},
}
PATTERN = "*/*.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files, none of them packed yet."""
    for name, content in CONTENTS.items():
        write_json(tmp_path / "cells" / name, content)
    return tmp_path / "cells"


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.relative_to(folder).as_posix(): file.content for path, file in read_files(folder, PATTERN).items()}


def lines(path: Path, *texts: str | bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(text if isinstance(text, bytes) else f"{text}\n".encode() for text in texts)))
    return path


def line(name: str = "a/1.json", content: Any = None) -> str:
    return json.dumps({"file": name, "content": {} if content is None else content})


def test_equal_contents_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order, the name of the file and the time; and no name and no time stand in it (RFC 1952)."""
    one, other = tmp_path / "one.jsonl.gz", tmp_path / "deeper" / "other.jsonl.gz"
    write_packed(one, CONTENTS)
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_packed(other, dict(reversed(CONTENTS.items())))
    data = one.read_bytes()
    assert other.read_bytes() == data and data[3:8] == bytes(5)
    text = gzip.decompress(data).decode()
    assert [json.loads(each)["file"] for each in text.split("\n")[:-1]] == list(CONTENTS)


def test_what_is_packed_is_read_as_before(folder: Path) -> None:
    before = read_files(folder, PATTERN)
    (folder / "b" / "picture.png").write_bytes(b"a picture")
    assert pack(folder, PATTERN) == 3
    after = read_files(folder, PATTERN)
    assert list(after) == list(before) and json.dumps(contents(folder)) == json.dumps(CONTENTS)
    assert [(file.path, file.line) for file in after.values()] == [(packed_path(folder), number) for number in (1, 2, 3)]
    assert [path.name for path in folder.rglob("*")] == ["b", "picture.png"], (
        "only what is packed is deleted, and empty folders"
    )
    assert pack(folder, PATTERN) == 0


def test_a_file_goes_before_a_line_of_its_name(folder: Path) -> None:
    pack(folder, PATTERN)
    write_json(folder / "a" / "2.json", {"made": "again"})
    write_json(folder / "c" / "0.json", {"new": 1})
    wanted = {**CONTENTS, "a/2.json": {"made": "again"}, "c/0.json": {"new": 1}}
    assert contents(folder) == wanted
    assert pack(folder, PATTERN) == 2 and contents(folder) == wanted and not folder.exists()


def test_nothing_is_there(tmp_path: Path) -> None:
    assert read_files(tmp_path / "cells", PATTERN) == {} and pack(tmp_path / "cells", PATTERN) == 0
    assert not list(tmp_path.iterdir())


class TestInterrupted:
    """Nothing is lost, whenever it is stopped."""

    @pytest.mark.parametrize("again", [False, True])
    def test_what_cannot_be_written(self, again: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        if again:
            pack(folder, PATTERN)
            write_json(folder / "c" / "0.json", {"new": 1})
        before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
        monkeypatch.setattr("excise.files.replace._flush", full)
        with pytest.raises(OSError, match="No space left"):
            pack(folder, PATTERN)
        assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize(
        ("written", "message"),
        [
            (lambda text: gzip.compress(text.replace(b"0.30000000000000004", b"0.3")), "what was read back is something else"),
            (lambda text: gzip.compress(text)[:-9], "it is damaged: its end is missing"),
        ],
    )
    def test_what_is_not_read_back(
        self, written: Callable[[bytes], bytes], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("excise.files.packed._zipped", written)
        with pytest.raises(ValueError, match=rf"cells\.jsonl\.gz cannot be written: {message}") as caught:
            pack(folder, PATTERN)
        assert ".part" not in str(caught.value)
        assert contents(folder) == CONTENTS and not packed_path(folder).exists()

    @pytest.mark.parametrize("name", ["TEXT_BYTES", "VALUES", "CELLS"])
    def test_too_much_is_not_packed(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        few = {"TEXT_BYTES": 200, "VALUES": 12, "CELLS": 2}[name]
        monkeypatch.setattr(bounds, name, few)
        with pytest.raises(ValueError, match=r"cells\.jsonl\.gz cannot be written: it is too large: "):
            pack(folder, PATTERN)
        assert contents(folder) == CONTENTS and not packed_path(folder).exists()

    def test_killed_between_two_deletions(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        unlink, gone = Path.unlink, list[Path]()

        def killed(path: Path, **how: Any) -> None:
            if gone:
                raise KeyboardInterrupt
            gone.append(path)
            unlink(path, **how)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "unlink", killed)
            pack(folder, PATTERN)
        assert len(gone) == 1 and contents(folder) == CONTENTS
        assert pack(folder, PATTERN) == 2 and contents(folder) == CONTENTS and not folder.exists()


class TestStrangers:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"file": "b/1.json", ', "it is not whole JSON"),
            ("", "it is not whole JSON"),
            ("[1, 2]", 'expected {"file": NAME, "content": {...}}'),
            ('{"file": "b/1.json"}', "expected"),
            ('{"file": "b/1.json", "content": {}, "more": 1}', "expected"),
            (line("b/1.json", [1]), "expected"),
            ('{"file": "b/1.json", "content": {"a": NaN}}', "NaN is no finite number"),
            ('{"file": "b/1.json", "content": {"a": 1, "a": 2}}', "the key 'a' stands there twice"),
            ('{"file": "b/1.json", "content": ' + '{"a":' * 90 + "1" + "}" * 91, "more than 64 levels"),
            (line("../../etc/passwd.json"), "'../../etc/passwd.json' is no name"),
            (line("a/../1.json"), "is no name"),
            (line("/1.json"), "is no name"),
            (line("a\\1.json"), "is no name"),
            (line("a/\0.json"), "is no name"),
            (line("a//1.json"), "is no name"),
            (line("a/1.png"), "'a/1.png' is no name of a JSON file"),
            ('{"file": 7, "content": {}}', "7 is no name"),
            (line("a" * 5_000), "is no name of a JSON file"),
            (line("1.json"), r"'1.json' is no name such as */*.json"),
            (line("a/b/1.json"), r"'a/b/1.json' is no name such as */*.json"),
            (line(), "'a/1.json' stands there twice"),
            (b'{"file": "b/\xff.json", "content": {}}\n', "is not UTF-8"),
        ],
    )
    def test_a_bad_line_is_named(self, text: str | bytes, message: str, tmp_path: Path) -> None:
        path = lines(tmp_path / "cells.jsonl.gz", line(), line("a/2.json"), text, line("z/9.json"))
        before = path.read_bytes()
        with pytest.raises(ValueError) as caught:
            read_files(tmp_path / "cells", PATTERN)
        said = str(caught.value)
        assert said.startswith(f"{path}, line 3: ") and message in said and "\n" not in said and len(said) < 700, said
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda data: b"", "its end is missing"),
            (lambda data: data[:-1], "its end is missing"),
            (lambda data: data[: len(data) // 2], "its end is missing"),
            (lambda data: data + b"x", "more follows its end"),
            (lambda data: data + data, "more follows its end"),
            (lambda data: data[:-8] + bytes(4) + data[-4:], "incorrect data check"),
            (lambda data: b'{"file": "a"}', "incorrect header check"),
        ],
    )
    def test_damaged_bytes(self, spoil: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
        path = lines(tmp_path / "cells.jsonl.gz", line(), line("a/2.json"))
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(ValueError, match=rf"^{path} is damaged: .*{message}"):
            read_packed(path)

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thousand times as large as the file; no more of it comes into memory than a text file may have."""
        monkeypatch.setattr(bounds, "TEXT_BYTES", 2**20)
        path = lines(tmp_path / "cells.jsonl.gz", bytes(2**26))
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"cells\.jsonl\.gz is too large: more than 1 MiB when it is unpacked$"):
            read_packed(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert path.stat().st_size < 2**17 and peak < 2**22

    @pytest.mark.parametrize(("name", "text"), [("VALUES", line(content={"a": [0] * 50})), ("CELLS", "\n" * 50)])
    def test_many_values_and_lines(self, name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounds, name, 40)
        path = lines(tmp_path / "cells.jsonl.gz", text)
        with pytest.raises(ValueError, match=rf"^{path} is too large: it .* more than 40$"):
            read_packed(path)

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jsonl.gz")
        with pytest.raises(ValueError, match="no regular file"):
            read_files(tmp_path / "pipe", PATTERN)
        (tmp_path / "folder.jsonl.gz").mkdir()
        with pytest.raises(IsADirectoryError):
            read_files(tmp_path / "folder", PATTERN)
        (tmp_path / "gone.jsonl.gz").symlink_to(tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError):
            read_files(tmp_path / "gone", PATTERN)
