"""A request from a file and from flags, and where each of its values comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from excise.hints import nearest
from excise.requests.request import Request
from excise.settings import parse

R = TypeVar("R", bound=Request)


@dataclass(frozen=True)
class Resolved(Generic[R]):
    """A request, and where its values come from.

    sources  of each field: "default", "file" or "flag"
    parts    of each key of the fields that are mappings, by field: "file" or "flag"
    """

    request: R
    sources: dict[str, str]
    parts: dict[str, dict[str, str]]


def resolve(schema: type[R], file: Mapping[str, Any], flags: Mapping[str, Any]) -> Resolved[R]:
    """Values of a file overrule the defaults, flags overrule the file; mappings are merged key by key.

    Raises ValueError in one line for unknown keys and wrong values.
    """
    fields = schema.options()
    for key in file.keys() - fields.keys():
        hint = "; settings of the method go under 'settings:'" if "settings" in fields else ""
        raise ValueError(f"unknown key {key!r} in the file; {nearest(key, list(fields))}{hint}")
    given = {"file": file, "flag": flags}
    values, parts = {**file, **flags}, {}
    for name in [name for name, field in fields.items() if isinstance(field.default, dict)]:
        of = {source: _mapping(name, those.get(name, {})) for source, those in given.items()}
        values[name] = {**of["file"], **of["flag"]}
        parts[name] = {key: source for source, those in of.items() for key in those}
    sources = {key: next((name for name in ("flag", "file") if key in given[name]), "default") for key in fields}
    return Resolved(parse(schema, values, "option"), sources, parts)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a mapping such as 'lr: 1e-3', not {value!r}")
    return value


class _Loader(yaml.BaseLoader):
    """Scalars stay text, which the schema converts as it does the text of flags: "null" is a name, not nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key!r} is given twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping whose scalars are text.

    Raises FileNotFoundError, or ValueError if it is no YAML mapping or gives a key twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a mapping such as 'concepts: [cat]', not {type(data).__name__}")
    return data
