"""Reading text and JSON of strangers: a whole file of the kind that is expected, or one line that says what is wrong with it."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any


def read_text(path: Path) -> str:
    """What a text file in UTF-8 holds, without the byte order mark that it may begin with.

    Raises ValueError that names the first line that is no UTF-8, such as one in Latin-1, or for UTF-16.
    """
    data = path.read_bytes()
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

    Raises FileNotFoundError if it is not there, ValueError if it is not a whole JSON file of that kind.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole JSON file ({error})") from None
    if not isinstance(data, kind):
        raise ValueError(f"{path} is not a whole JSON file (it holds a {type(data).__name__} instead of a {kind.__name__})")
    return data
