"""Paths of one request that get in each other's way: refused before the work, not after it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from excise.files import STDOUT
from excise.models.names import resolve

OUTPUTS = frozenset({"out", "to", "json_file", "figure", "curves", "sheet", "space"})
"""Fields that name what is written."""

MODELS = frozenset({"model", "base", "erased", "gold", "student", "teacher"})
"""Fields that name models, which may be built in or on the hub."""


def check_apart(request: BaseModel, config: Path | None = None, free: Collection[str] = ()) -> None:
    """Raise ValueError if an output is an input, or two outputs are one file or one lies in the other, by whatever spelling or link.

    config  the file that the request's options were read from
    free    fields that may name an output
    """
    given = [(name, value, _option(request, name)) for name, value in request]
    written = [(name, value, option) for name, value, option in given if name in OUTPUTS and value is not None]
    outputs = [(option, value) for name, value, option in written if (name, value) != ("json_file", STDOUT)]
    read = [(name, value, option) for name, value, option in given if name not in OUTPUTS and name not in free]
    inputs = [(option, path) for name, value, option in read for path in _paths(name, value)]
    for (one, first), (other, second) in combinations(outputs, 2):
        if _inside(first, second) or _inside(second, first):
            raise ValueError(f"{one}={first} and {other}={second} get in each other's way; choose another path for one of them")
    for option, path in outputs:
        for other, source in [*inputs, *([("config", config)] if config else [])]:
            if _real(path) == _real(source):
                raise ValueError(f"{option}={path} is what is read as {other}={source}; choose another path")


def _option(request: BaseModel, name: str) -> str:
    return type(request).model_fields[name].alias or name


def _paths(name: str, value: Any) -> Iterator[Path]:
    """The files and folders that a field names."""
    if isinstance(value, Path) or (name == "weights" and isinstance(value, str)):
        yield Path(value)
    elif isinstance(value, str) and name in MODELS:
        with suppress(ValueError, OSError):  # the request's own check says what is wrong
            if isinstance(where := resolve(value), Path):
                yield where
    elif isinstance(value, tuple | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _paths(name, one)


def _inside(one: Path, other: Path) -> bool:
    return Path(_real(one)).is_relative_to(_real(other))


def _real(path: Path) -> str:
    return os.path.realpath(path)
