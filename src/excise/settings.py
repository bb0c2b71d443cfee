"""Settings: pydantic schemas, and plain values (from a command line, a file, Python) to checked ones. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator

from excise import bounds
from excise.files import check_path
from excise.hints import nearest
from excise.quoting import MOST, cut, quoted

T = TypeVar("T")
parted = BeforeValidator(lambda value: tuple(value.split(";")) if isinstance(value, str) else value)
Several = Annotated[tuple[T, ...], parted]
"""A setting of several values; on a command line "1;2;3"."""


class Wanted(str):
    """Stands in a preset for a value that only the user has. It says which; without that value the preset is refused."""


class Given(BaseModel):
    """Base of what users give: frozen, unknown keys refused, every value within `excise.bounds`.

    most  the largest whole number of a field that declares no bound of its own: it may be work or memory, which other numbers are not
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    most: ClassVar[int] = bounds.COUNT

    @field_validator("*", mode="after")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        check_bounded(value, cls.most)
        return value


def check_bounded(value: Any, most: int) -> None:
    """Raise ValueError for a whole number that is larger than `most`, another one that single precision does not hold, a text that is too
    long or cannot be written, or too many values; of a container every value is looked at."""
    if isinstance(value, int | float):
        largest = most if isinstance(value, int) else bounds.NUMBER
        if not abs(value) <= largest:  # which NaN is not either
            raise ValueError(f"must be between -{largest:g} and {largest:g}")
    elif isinstance(value, str | Path):
        _check_text(str(value))
        if isinstance(value, Path):
            check_path(value)
    elif isinstance(value, Mapping | tuple | list):
        if len(value) > bounds.ENTRIES:
            raise ValueError(f"has {len(value)} values, more than {bounds.ENTRIES}")
        for one in (*value, *value.values()) if isinstance(value, Mapping) else value:
            check_bounded(one, most)


def _check_text(text: str) -> None:
    if len(text) > bounds.CHARACTERS:
        raise ValueError(f"has {len(text)} characters, more than {bounds.CHARACTERS}")
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("holds NUL or bytes that are not UTF-8, which no text has")


class Settings(Given):
    """Base of every method's settings.

    presets  named sets of values (published configurations); chosen with `preset=NAME`, and single values still win
    one_entrance  defaults that differ on a model whose tokens enter by one layer alone, as they do in transformers
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    one_entrance: ClassVar[dict[str, Any]] = {}


S = TypeVar("S", bound=BaseModel)
P = TypeVar("P", bound=Settings)


def parse_settings(schema: type[P], values: Mapping[str, Any], owner: str, what: str) -> P:
    """Settings from plain values, after those of the preset that `preset=NAME` chooses.

    owner  whose settings they are, in errors: "method 'mim'"
    what   what one key is called in errors: "setting of mim"

    Raises ValueError in one line for an unknown preset, for one that needs a value which is not given, or for every wrong key or value.
    """
    values = dict(values)
    preset = values.pop("preset", None)
    if preset is not None and preset not in schema.presets:
        raise ValueError(f"{owner} has no preset {quoted(preset)}; {nearest(str(preset), list(schema.presets))}")
    values = {**schema.presets.get(str(preset), {}), **values}
    wanted = [value for value in values.values() if isinstance(value, Wanted)]
    if wanted:
        raise ValueError(f"preset {quoted(preset)} of {owner} needs {'; '.join(wanted)}")
    return parse(schema, values, what)


def parse(schema: type[S], values: Mapping[str, Any], what: str) -> S:
    """The schema's object from plain values; text from a command line or a file is converted.

    what  what one key is called in errors, such as "setting of mim"

    Raises ValueError in one line that names every wrong key or value.
    """
    try:
        return schema(**values)
    except ValidationError as error:
        known = [field.alias or name for name, field in schema.model_fields.items()]
        problems = [_problem(dict(item), known, what) for item in error.errors(include_url=False)]
        more = [f"{len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        raise ValueError("; ".join(problems[:_TOLD] + more)) from None


_TOLD = 5
"""Problems that one error names."""


_WORDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "path_type": "must be a path",
    "too_short": "needs at least {min_length}",
    "int_parsing_size": "must be a whole number of 64 bits",
}
"""What is wrong with a value, in plainer words than pydantic's."""


def _problem(item: dict[str, Any], known: list[str], what: str) -> str:
    key = cut(".".join(str(part) for part in item["loc"]))
    given = f"bad {what}: {key}={quoted(item['input'])}"
    match item["type"]:
        case "extra_forbidden":
            return f"unknown {what}: {quoted(key)} ({nearest(key, known)})"
        case "missing":
            return f"missing {what}: {quoted(key)}"
        case "literal_error":
            choices = re.findall("'([^']*)'", item["ctx"]["expected"])
            return f"{given}; {nearest(str(item['input']), choices)}"
    plain = _WORDS.get(item["type"])
    why = plain.format(**item.get("ctx", {})) if plain else cut(item["msg"].removeprefix("Value error, "), 2 * MOST)
    return f"{given}: {why}" if key else f"bad {what}: {why}"


def parse_assignments(texts: Iterable[str]) -> dict[str, str]:
    """{"lr": "1e-3"} from ["lr=1e-3"].

    Raises ValueError for a text without "=" or a key given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"expected key=value, got {quoted(text)}")
        if key.strip() in values:
            raise ValueError(f"setting {quoted(key.strip())} is given twice")
        values[key.strip()] = value.strip()
    return values


def parse_named(text: str) -> tuple[str, dict[str, str]]:
    """("p4d", {"lr": "0.05"}) from "p4d:lr=0.05": a name, and settings after a colon, with commas between.

    Raises ValueError for a setting without "=" or one that is given twice.
    """
    name, _, rest = text.partition(":")
    try:
        return name, parse_assignments(part for part in rest.split(",") if part)
    except ValueError as error:
        raise ValueError(f"{error}, in {quoted(text)}") from None
