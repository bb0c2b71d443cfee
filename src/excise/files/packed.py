"""JSON files of a folder in one: a line for each, with its name and its content, gzipped. Equal contents give equal bytes.

`cells.jsonl.gz` stands for files in `cells`, beside which it lies. It is bounded as any text file is (`excise.bounds`).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from excise import bounds
from excise.files.damage import reading
from excise.files.read import as_text, check_values, parse_json, read_bytes, read_json
from excise.files.replace import delete_files, replacing
from excise.quoting import quoted

ENDING = ".jsonl.gz"


@dataclass(frozen=True)
class JsonFile:
    """An object in a file of its own, or in a line of a packed one.

    path  the file where it stands; line: of a packed one, from 1
    """

    content: dict[str, Any]
    path: Path
    line: int | None = None


def place(path: Path, line: int | None) -> str:
    """Where something stands, for messages: "cells.jsonl.gz, line 3"."""
    return f"{path}" if line is None else f"{path}, line {line}"


def packed_path(folder: Path) -> Path:
    """The file that stands for files of a folder."""
    return folder.with_name(folder.name + ENDING)


def read_files(folder: Path, pattern: str) -> dict[Path, JsonFile]:
    """JSON files of a folder, in the order of their paths: those that lie there, and those that are packed beside it.

    pattern  of their names in the folder, such as "*/*.json"

    A file that lies there goes before a line of its name. The path of a packed one is the one that it would have in the folder.

    Raises ValueError, naming file and line, for what is damaged.
    """
    found: dict[Path, JsonFile] = {}
    whole = packed_path(folder)
    for name, file in (read_packed(whole) if os.path.lexists(whole) else {}).items():
        if not (PurePosixPath(name).match(pattern) and name.count("/") == pattern.count("/")):
            raise ValueError(f"{place(whole, file.line)}: {quoted(name)} is no name such as {pattern}")
        found[folder / name] = file
    found |= {path: JsonFile(read_json(path), path) for path in folder.glob(pattern)}
    return dict(sorted(found.items()))


def read_packed(path: Path) -> dict[str, JsonFile]:
    """What a packed file holds, by names with "/" between folders.

    Raises FileNotFoundError; ValueError, naming file and line, if it is damaged, larger than a text file may be, or holds other lines.
    """
    found: dict[str, JsonFile] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            name, content = _entry(line)
            if name in found:
                raise ValueError(f"{quoted(name)} stands there twice")
        except ValueError as error:
            raise ValueError(f"{place(path, number)}: {error}") from None
        found[name] = JsonFile(content, path, number)
    return found


def write_packed(path: Path, contents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a packed file, all or nothing, and read it back before it takes the place of an earlier one.

    Raises ValueError if it could not be read again: there is too much in it.
    """
    text = _text(contents)
    with replacing(path) as temporary:
        temporary.write_bytes(_zipped(text))
        try:
            back = {name: file.content for name, file in read_packed(temporary).items()}
        except ValueError as error:
            raise ValueError(f"{path} cannot be written: {str(error).replace(str(temporary), 'it')}") from None
        if _text(back) != text:
            raise ValueError(f"{path} cannot be written: what was read back is something else")


def pack(folder: Path, pattern: str) -> int:
    """Put JSON files of a folder into the packed file beside it; returns how many. They are deleted when it is there and whole.

    Raises ValueError if they cannot be packed: then all is as it was.
    """
    paths = list(folder.glob(pattern))
    if paths:
        files = read_files(folder, pattern).items()
        write_packed(packed_path(folder), {path.relative_to(folder).as_posix(): file.content for path, file in files})
        delete_files(folder, (path.relative_to(folder).as_posix() for path in paths))
    return len(paths)


def _text(contents: Mapping[str, Mapping[str, Any]]) -> bytes:
    lines = ({"file": name, "content": content} for name, content in sorted(contents.items()))
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _zipped(text: bytes) -> bytes:
    """Without time and name, which differ from one writing to the next."""
    data = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=data, mtime=0) as file:
        file.write(text)
    return data.getvalue()


def _lines(path: Path) -> list[str]:
    """The lines, without their ends."""
    text = _unpacked(path)
    try:
        check_values(text)
        if (count := text.count("\n")) > bounds.CELLS:
            raise ValueError(f"it has {count} lines, more than {bounds.CELLS}")
    except ValueError as error:
        raise ValueError(f"{path} is too large: {error}") from None
    return text.removesuffix("\n").split("\n") if text else []


def _unpacked(path: Path) -> str:
    """The text. No more of it is unpacked than may be there."""
    unpacking = zlib.decompressobj(wbits=31)  # gzip, with its checksum
    packed = read_bytes(path, bounds.TEXT_BYTES)
    with reading(path):
        data = unpacking.decompress(packed, bounds.TEXT_BYTES + 1)
    if len(data) > bounds.TEXT_BYTES:
        raise ValueError(f"{path} is too large: more than {bounds.TEXT_BYTES >> 20} MiB when it is unpacked")
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError(f"{path} is damaged: {'more follows its end' if unpacking.eof else 'its end is missing'}")
    return as_text(data, path)


def _entry(line: str) -> tuple[str, dict[str, Any]]:
    """Name and content. Raises ValueError for what is no such line."""
    try:
        data = parse_json(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not whole JSON ({error.msg}: column {error.colno})") from None
    if not (isinstance(data, dict) and data.keys() == {"file", "content"} and isinstance(data["content"], dict)):
        raise ValueError('expected {"file": NAME, "content": {...}}')
    name = data["file"]
    if not (isinstance(name, str) and name.endswith(".json") and all(map(_is_part, name.split("/")))):
        raise ValueError(f"{quoted(name)} is no name of a JSON file in a folder")
    return name, data["content"]


def _is_part(part: str) -> bool:
    return part not in ("", ".", "..") and not {"\\", "\0"} & set(part)
