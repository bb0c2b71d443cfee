"""Small changes of a YAML file that people keep: one value is set or one entry added, and every other sign stays, comments too.

PyYAML tells where in the text each value stands, but writes no comments. So the text itself is changed there, and read again: what it says
must be what was meant, or nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from excise.requests.sources import YamlText

_PLAIN = re.compile(r"[A-Za-z0-9][\w./-]*( [A-Za-z0-9(][\w./()-]*)*", re.ASCII)
"""Text that needs no quotes."""


def with_value(document: YamlText, path: Path, entries: str, number: int, key: str, value: str) -> YamlText:
    """The document with `key: value` in one entry of a list: in the place of the earlier value, or behind the entry's first key.

    entries  key of the list, whose entries are mappings
    number   of the entry, from 0

    Raises ValueError where that cannot be written without touching anything else.
    """
    entry = _of(document.root, entries).value[number]
    expected = deepcopy(document.data)
    expected[entries][number][key] = value
    found = next((each for name, each in entry.value if name.value == key), None)
    if found is not None:
        text = _spliced(document.text, found.start_mark.index, found.end_mark.index, scalar(value))
    else:
        text = _beside_first(document.text, entry, f"{key}: {scalar(value)}")
    return _checked(text, path, expected)


def with_entry(document: YamlText, path: Path, entries: str, entry: Mapping[str, Any]) -> YamlText:
    """The document with one more entry at the end of a list, which is begun if it is not there.

    entry  text, or lists or mappings of text

    Raises ValueError where that cannot be written without touching anything else.
    """
    expected = deepcopy(document.data)
    there = expected.get(entries) or []
    if not isinstance(there, list):
        raise ValueError(f"{path}: {entries} must be a list")
    expected[entries] = [*there, deepcopy(dict(entry))]
    text, known = document.text, _of(document.root, entries)
    if known is None:
        text = f"{text}{_newline(text, len(text))}{entries}:{_break(text)}{_block(entry, 2, _break(text))}"
    elif there and known.flow_style:
        text = _spliced(text, known.end_mark.index - 1, known.end_mark.index - 1, f", {_flow(entry)}")
    elif there:
        end = _line_end(text, max(_ends(known.value[-1])))
        text = _spliced(text, end, end, _newline(text, end) + _block(entry, known.start_mark.column, _break(text)))
    else:
        before = text[: known.start_mark.index].rstrip(" ")
        text = f"{before}{_break(text)}{_block(entry, 2, _break(text))}{text[known.end_mark.index :].lstrip()}"
    return _checked(text, path, expected)


def _of(root: yaml.MappingNode, key: str) -> Any:
    return next((value for name, value in root.value if name.value == key), None)


def _checked(text: str, path: Path, expected: Mapping[str, Any]) -> YamlText:
    found = YamlText.parse(text, path)
    if found.data != expected:
        raise ValueError(f"{path} is written in a way that cannot be changed without touching more; make the change by hand")
    return found


def _beside_first(text: str, entry: yaml.MappingNode, line: str) -> str:
    """With one more key behind the entry's first one."""
    name, first = entry.value[0]
    if entry.flow_style:
        return _spliced(text, first.end_mark.index, first.end_mark.index, f", {line}")
    end = _line_end(text, first.end_mark.index)
    return _spliced(text, end, end, f"{_newline(text, end)}{' ' * name.start_mark.column}{line}{_break(text)}")


def _spliced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _ends(node: yaml.Node) -> Sequence[int]:
    """Where the values in a node end; collections in block style claim the comments behind them, so only what is in them counts."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return [end for _, value in node.value for end in _ends(value)] + [name.end_mark.index for name, _ in node.value]
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return [end for value in node.value for end in _ends(value)]
    return [node.end_mark.index]


def _line_end(text: str, place: int) -> int:
    """The beginning of the line after a place, or the end of the text; the place itself if it begins a line."""
    if place and text[place - 1] == "\n":
        return place
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def _newline(text: str, place: int) -> str:
    """What is missing before a new line can begin at the end of a text."""
    return _break(text) if place and text[place - 1] != "\n" else ""


def _break(text: str) -> str:
    """How a text ends its lines."""
    return "\r\n" if "\r\n" in text else "\n"


def _block(entry: Mapping[str, Any], column: int, end: str) -> str:
    """An entry of a list in block style, whose dash stands in a column."""
    lines = [f"{key}: {_flow(value)}" for key, value in entry.items()]
    return "".join(f"{' ' * column}{'- ' if number == 0 else '  '}{line}{end}" for number, line in enumerate(lines))


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(str(value))


def scalar(text: str) -> str:
    """A text as YAML writes it: between quotes if it needs them."""
    if _PLAIN.fullmatch(text):
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**20).strip()
