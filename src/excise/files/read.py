"""Reading text and JSON of strangers: a whole file of the kind that is expected, or one line that says what is wrong with it."""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from excise import bounds
from excise.quoting import cut, quoted

T = TypeVar("T")


def open_regular(path: Path) -> BinaryIO:
    """A regular file, or a link to one, open for reading bytes.

    A pipe, a socket or a device is none: what reads it may wait without end, or read without end.

    Raises FileNotFoundError, IsADirectoryError, PermissionError, or ValueError for what is no regular file.
    """
    try:
        _check_regular(path, os.stat(path).st_mode)
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (PermissionError, IsADirectoryError):
        raise
    except OSError as error:  # a loop of links, a name that is too long
        raise ValueError(f"{cut(str(path))} cannot be opened: {error.strerror}") from None
    file = os.fdopen(handle, "rb")
    try:
        _check_regular(path, os.fstat(handle).st_mode)  # it may have been replaced
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder; a file is expected")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is no regular file, but a pipe, a socket or a device; nothing is read from it")


def read_bytes(path: Path, most: int = bounds.TEXT_BYTES) -> bytes:
    """What a regular file holds. Raises what `open_regular` does, and ValueError for one of more than `most` bytes."""
    with open_regular(path) as file:
        told = os.fstat(file.fileno()).st_size
        data = b"" if told > most else file.read(most + 1)  # what a file system tells may be too little
    if max(told, len(data)) > most:
        raise ValueError(f"{path} is too large: more than {most >> 20} MiB")
    return data


def read_text(path: Path, most: int = bounds.TEXT_BYTES) -> str:
    """What a text file in UTF-8 holds, without the byte order mark that it may begin with.

    Raises what `read_bytes` does; ValueError that names the first line that is no UTF-8, such as one in Latin-1, or for UTF-16.
    """
    return as_text(read_bytes(path, most), path)


def as_text(data: bytes, path: Path) -> str:
    """The text of a file in UTF-8, as `read_text` promises, by the bytes that it holds."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    wrong, what = data.find(b"\0"), "NUL, which is no text (UTF-16 has it)"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        wrong, what = error.start, f"byte 0x{data[error.start]:02x} is not UTF-8 (Latin-1?)"
    if wrong >= 0:
        line = data[:wrong].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: {what}; save it as UTF-8")
    return text


def read_json(path: Path, kind: type = dict) -> Any:
    """What a JSON file holds: an object as a dict, or with `kind=list` an array as a list.

    It is bounded (`excise.bounds`), numbers are finite and whole ones fit 64 bits, no key stands twice, and all text can be written again.

    Raises what `read_text` does, and ValueError if it is not a whole JSON file of that kind.
    """
    text = read_text(path)
    try:
        data = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file ({error})") from None
    if not isinstance(data, kind):
        raise ValueError(f"{path} is not a whole JSON file (it holds a {type(data).__name__} instead of a {kind.__name__})")
    return data


def read_record(path: Path, schema: type[T], what: str) -> T:
    """What a JSON file holds, checked by a pydantic schema; `what` is what the file should be, for errors.

    Raises what `read_json` does, and ValueError that names the place that is wrong.
    """
    return as_record(read_json(path, object), schema, path, what)


def as_record(content: object, schema: type[T], path: Path | str, what: str) -> T:
    """The content of a file, checked by a pydantic schema. Raises ValueError that names the file and the place that is wrong."""
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{path} is not {what}: {problem(error)}") from None


def problem(error: ValidationError, within: tuple[str | int, ...] = ()) -> str:
    """The first thing that a schema does not take: where, what was expected, and what stands there."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in (*within, *first["loc"]))
    given = "" if first["type"] == "missing" else f", not {quoted(first['input'])}"
    return f"{cut(place)}{': ' if place else ''}{cut(first['msg'].removeprefix('Value error, '))}{given}"


def parse_json(text: str) -> Any:
    """What a JSON text says, bounded as `read_json` promises. Raises ValueError."""
    check_values(text)
    try:
        data = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError(f"more than {bounds.DEPTH} levels lie in each other") from None
    _check_depth(data)
    if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a pair that stands alone cannot be written
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair stands alone, which is no text") from None
    return data


def check_values(text: str) -> None:
    """Raise ValueError for JSON of more values than memory is meant to hold."""
    values = sum(map(text.count, ",[{"))
    if values > bounds.VALUES:
        raise ValueError(f"it may hold {values} values, more than {bounds.VALUES}")


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"{cut(digits, 30)} is no whole number of 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        return _no_number(cut(digits, 30))
    return number


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no finite number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quoted(twice)} stands there twice")
    return found


def _check_depth(data: object) -> None:
    """Raise ValueError for containers that lie too deep in each other; one level after the other, so that none is too deep to look at."""
    level = [data]
    for _ in range(bounds.DEPTH):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(f"more than {bounds.DEPTH} levels lie in each other")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
