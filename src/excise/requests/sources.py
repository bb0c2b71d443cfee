"""A request from a file and from flags, and where each of its values comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from excise import bounds
from excise.files import read_text
from excise.hints import nearest
from excise.quoting import MOST, cut, quoted
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
        raise ValueError(f"unknown key {quoted(key)} in the file; {nearest(key, list(fields))}{hint}")
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
        raise ValueError(f"{name} must be a mapping such as 'lr: 1e-3', not {quoted(value)}")
    return value


class _Loader(yaml.BaseLoader):
    """Scalars stay text, which the schema converts as it does the text of flags: "null" is a name, not nothing.

    What is not plain is refused before anything is made of it: anchors and aliases, with which a few bytes stand for gigabytes, more values
    or levels than `excise.bounds` allows, keys that are no text or stand twice.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.values, self.levels = 0, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise ValueError(f"line {line} has an alias or an anchor; write out what it stands for")
        self.values, self.levels = self.values + 1, self.levels + 1
        if self.values > bounds.CONFIG_VALUES or self.levels > bounds.CONFIG_DEPTH:
            raise ValueError(
                f"line {line} is beyond {bounds.CONFIG_VALUES} keys and values or {bounds.CONFIG_DEPTH} levels, which are read at most"
            )
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"line {key.start_mark.line + 1} has a list or a mapping for a key")
            if key.value in seen:
                raise ValueError(f"{quoted(key.value)} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class YamlText:
    """A YAML mapping as it is written.

    text of the file
    root where in the text each key and value stands
    data what it says; scalars are text
    """

    text: str
    root: yaml.MappingNode
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> YamlText:
        """Raises FileNotFoundError, or ValueError if it is no YAML mapping, or beyond the bounds of one that people write."""
        return cls.parse(read_text(path, bounds.CONFIG_BYTES), path)

    @classmethod
    def parse(cls, text: str, path: Path) -> YamlText:
        """The mapping in the text of a file. Raises ValueError as `read` does."""
        if len(text.encode()) > bounds.CONFIG_BYTES:
            raise ValueError(f"{path} is too large: more than {bounds.CONFIG_BYTES >> 20} MiB of text")
        try:
            loader = _Loader(text)
            root = loader.get_single_node()
            data = None if root is None else loader.construct_document(root)
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {cut(str(error), 2 * MOST)}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if not isinstance(data, dict) or not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{path} must hold a mapping such as 'concepts: [cat]', not {type(data).__name__}")
        return cls(text, root, data)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping whose scalars are text. Raises what `YamlText.read` does."""
    return YamlText.read(path).data
