"""The reference of the files that are written, from the records of `excise.results` and the manifest of an edit."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

import excise.results
from excise.edits.manifest import Manifest
from excise.results.result_file import ResultFile
from markup import code, kind, named, paragraphs, plain, table


def files() -> str:
    """A table of all kinds of files, and the fields of each."""
    tops = sorted(_kinds(), key=lambda each: str(each.model_fields["kind"].default))
    rows = [
        (f"[{_kind(each)}](#{each.__name__.lower()})", plain(each.WHAT), str(each.model_fields["format"].default))
        for each in tops
    ]
    rows.append(
        (f"[edit](#{Manifest.__name__.lower()})", "the edit.json of an edit", str(Manifest.model_fields["format"].default))
    )
    inner = {each.__name__: each for top in (*tops, Manifest) for each in _inside(top)}
    records = [part for each in (*tops, Manifest) for part in _record(each, "##")]
    more = [
        part
        for name in sorted(inner.keys() - {each.__name__ for each in (*tops, Manifest)})
        for part in _record(inner[name], "###")
    ]
    return "\n\n".join([table(("kind", "what it is", "format"), rows), *records, "## Records inside", *more])


def _kinds() -> list[type[ResultFile]]:
    for module in pkgutil.iter_modules(excise.results.__path__, "excise.results."):
        importlib.import_module(module.name)
    return [each for each in ResultFile.__subclasses__() if each.__module__.startswith("excise.")]


def _kind(record: type[ResultFile]) -> str:
    return str(record.model_fields["kind"].default)


def _inside(record: type[BaseModel], seen: set[type] | None = None) -> Iterator[type[BaseModel]]:
    """The records that a record holds, at any depth."""
    seen = set() if seen is None else seen
    for field in record.model_fields.values():
        for each in _types(field.annotation):
            if issubclass(each, BaseModel) and each not in seen:
                seen.add(each)
                yield each
                yield from _inside(each, seen)


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for each in get_args(annotation):
        yield from _types(each)


def _apart(meanings: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """A meaning for each of the fields; some lines say in passing what the next field is: "sum of both; n: how many"."""
    found: dict[str, str] = {}
    for name, text in meanings.items():
        for part in re.split(rf"; (?=(?:{'|'.join(fields)}): )", f"{name}: {text}"):
            head, _, rest = part.partition(": ")
            found.setdefault(head, rest)
    return found


def _record(record: type[BaseModel], level: str) -> list[str]:
    """A heading, what it is, and a table of its fields; what a base says of a field holds for those derived from it."""
    meanings: dict[str, str] = {}
    for each in reversed(record.__mro__):
        if each.__module__.startswith("excise"):
            meanings |= {name: text for part in paragraphs(each) for name, text in named(part).items()}
    meanings = _apart(meanings, record.model_fields)
    rows = [
        (
            code(field.alias or name),
            kind(field.annotation),
            "" if field.is_required() else "may be left out",
            plain(meanings.get(name, "")),
        )
        for name, field in record.model_fields.items()
    ]
    said = [plain(part) for part in paragraphs(record) if not named(part)]
    return [f"{level} {record.__name__}", *said, *([table(("field", "type", "", "meaning"), rows)] if rows else [])]
