"""Plain values to checked ones: pydantic schemas whose problems are told in one line, with the nearest known key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from excise.concepts import nearest

S = TypeVar("S", bound=BaseModel)


def parse(schema: type[S], values: Mapping[str, Any], what: str) -> S:
    """The schema's object from plain values; text from a command line or a file is converted.

    what  what one key is called in errors, such as "setting of mim"

    Raises ValueError in one line that names every wrong key or value.
    """
    try:
        return schema(**values)
    except ValidationError as error:
        known = list(schema.model_fields)
        raise ValueError("; ".join(_problem(dict(item), known, what) for item in error.errors())) from None


def _problem(item: dict[str, Any], known: list[str], what: str) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown {what}: {key!r} ({nearest(key, known)})"
    if item["type"] == "missing":
        return f"missing {what}: {key!r}"
    if not key:
        return f"bad {what}: {item['msg'].removeprefix('Value error, ')}"
    return f"bad {what}: {key}={item['input']!r}: {item['msg']}"
