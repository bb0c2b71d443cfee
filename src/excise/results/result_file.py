"""Result files: records with a format number, how they are read and written. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, JsonValue

from excise.figures import ResultRecord
from excise.files import STDOUT, as_record, place, read_json, write_text
from excise.quoting import cut
from excise.versions import own_version

FORMAT = 2
"""Of every result file. Files of format 1 had no number; `excise convert` rewrites them."""

Facts = Annotated[dict[str, JsonValue], BeforeValidator(lambda value: json.loads(json.dumps(value, default=str)))]
"""What differs from method to method or from suite to suite, such as settings: shown and compared, never computed with."""

WRITER = "excise"
"""Key of a file, and of no record, for the version that wrote it: two versions write one record alike but for this."""

LINE = 140
"""Characters that a line of a result file may have before it is broken; a list of numbers is never broken."""


class ResultFile(ResultRecord):
    """A record that is the whole of a file.

    format number of the file's form
    kind   what the file holds
    WHAT   the same in words, for errors
    """

    WHAT: ClassVar[str]

    format: Literal[2] = 2
    kind: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in a file. Raises FileNotFoundError, or ValueError in one line that names the file and what is wrong in it."""
        return cls.parse(read_json(path), path)

    @classmethod
    def parse(cls, content: Mapping[str, Any], path: Path, line: int | None = None) -> Self:
        """The record in the content of a file, or of a line of a packed one. Raises ValueError in one line."""
        check_format(content, path, line)
        return as_record({key: value for key, value in content.items() if key != WRITER}, cls, place(path, line), cls.WHAT)

    def write(self, path: Path, *, overwrite: bool = True) -> None:
        """Write the file, all or nothing; `overwrite` as of `excise.files.replacing`. `STDOUT` is printed, in ASCII for every encoding."""
        if path == STDOUT:
            print(re.sub(r"[^\x00-\x7f]", lambda sign: json.dumps(sign[0])[1:-1], text(self.signed())), flush=True)
        else:
            write_content(path, self.signed(), overwrite=overwrite)

    def to_dict(self) -> dict[str, Any]:
        """What the file holds, but for the version that wrote it; what was not measured is not in it."""
        return self.model_dump(mode="json", exclude_none=True)

    def signed(self) -> dict[str, Any]:
        """What a file of it holds, with the version that writes it."""
        return {"format": self.format, WRITER: own_version(), **self.to_dict()}


def write_content(path: Path, content: Mapping[str, Any], *, overwrite: bool = True) -> None:
    """Write what a result file holds, as `ResultFile.write` does."""
    write_text(path, f"{text(content)}\n", overwrite=overwrite)


def check_format(content: Mapping[str, Any], path: Path, line: int | None = None) -> None:
    """Raise ValueError for a file of another format, with the way out, or of a writer that is no text."""
    if not isinstance(content.get(WRITER, ""), str):
        raise ValueError(f"{place(path, line)}: {WRITER} must be the version that wrote the file")
    found = content.get("format", 1)
    if found == FORMAT:
        return
    way_out = f"convert it with: excise convert {path}" if found == 1 else "it needs a later version"
    raise ValueError(
        f"{place(path, line)} has format {cut(str(found))}; this version of excise reads format {FORMAT}; {way_out}"
    )


def text(value: Any, indent: str = "") -> str:
    """JSON that is compact and can be read: what fits stands on one line, and so does a list of numbers however long it is.

    >>> print(text({"a": {"value": 0.5, "n": 3}, "b": list(range(3))}))
    {"a": {"value": 0.5, "n": 3}, "b": [0, 1, 2]}
    """
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= LINE or not isinstance(value, dict | list):
        return flat
    inner = f"{indent} "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {text(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if all(isinstance(each, int | float) for each in value):
        return flat
    return "[\n" + ",\n".join(f"{inner}{text(each, inner)}" for each in value) + f"\n{indent}]"
