"""Markdown for pages that are made of the code: tables, code, text of docstrings."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_NAMES = re.compile(r"[\w.*]+(?:, [\w.*]+)*( +)(?=\S)")
"""Names at the beginning of a line, and what parts them from their meaning."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a text may have any sign in it."""
    lines = [
        f"| {' | '.join(each.replace('|', chr(92) + '|').replace(chr(10), ' ') for each in row)} |" for row in (columns, *rows)
    ]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def code(text: object) -> str:
    """A piece of code in a sentence; "" for none.

    >>> code("a`b"), code("")
    ('``a`b``', '')
    """
    plain = str(text)
    ticks = "``" if "`" in plain else "`"
    return f"{ticks}{plain}{ticks}" if plain else ""


def plain(text: str) -> str:
    """A sentence of a description as Markdown: only what stands between back quotes is code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") and len(part) > 1 else re.sub(r"[\\*_\[\]<>#]", r"\\\g<0>", part) for part in parts
    )


def paragraphs(thing: Any) -> list[str]:
    """The paragraphs of a docstring as they stand there; none where there is no docstring of its own."""
    return inspect.cleandoc(vars(thing).get("__doc__") or "").split("\n\n") if vars(thing).get("__doc__") else []


def named(paragraph: str) -> dict[str, str]:
    """Names and what they mean, of a paragraph that lists them one a line; {} for one that is prose.

    >>> named("low, high ends of its interval\\nn         pictures it rests on")
    {'low': 'ends of its interval', 'high': 'ends of its interval', 'n': 'pictures it rests on'}
    >>> named("A sentence that goes\\non.")
    {}
    """
    lines = paragraph.splitlines()
    column = _column(lines)
    if column is None:
        return {}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        head, text = line[:column].strip(), line[column:].strip()
        names = head.split(", ") if head else names
        found |= {name.rstrip(","): f"{found[name]} {text}" if not head else text for name in names}
    return found


def _column(lines: Sequence[str]) -> int | None:
    """Where the meanings begin in every line; None if they begin at no one place, or if nothing but single blanks is before them."""
    heads = [_NAMES.match(line) for line in lines if not line.startswith(" ")]
    if not lines[0][:1].isalpha() or not all(heads):
        return None
    columns = {found.end() for found in heads if found}
    indents = [len(line) - len(line.lstrip()) for line in lines if line.startswith(" ")]
    column = min(columns)
    wide = indents or any(found and len(found[1]) > 1 for found in heads)
    return column if len(columns) == 1 and wide and all(each == column for each in indents) else None


def attributes(schema: type) -> dict[str, str]:
    """What the texts below a class's fields say, those of its bases included."""
    found: dict[str, str] = {}
    for owner in reversed(schema.__mro__):
        if owner.__module__.startswith("excise"):
            body = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
            for field, below in pairwise(body):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                    found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


WORDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path", "Any": "anything"}


def kind(annotation: Any) -> str:
    """A type in words, such as "list of number"."""
    origin = get_origin(annotation)
    inner = [each for each in get_args(annotation) if each is not type(None) and each is not Ellipsis]
    if origin is Literal:
        return " or ".join(code(each) for each in inner)
    if origin is Annotated:
        return kind(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(kind, inner)))
    if origin in (tuple, list):
        return f"list of {kind(inner[0])}" if inner else "list"
    if origin in (dict, Mapping):
        return f"{kind(inner[1])} by name"
    name = getattr(annotation, "__name__", str(annotation))
    return f"[{name}](#{name.lower()})" if hasattr(annotation, "model_fields") else WORDS.get(name, name)
