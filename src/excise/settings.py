"""Settings: pydantic schemas, and plain values (from a command line, a file, Python) to checked ones. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from excise.hints import nearest

T = TypeVar("T")
parted = BeforeValidator(lambda value: tuple(value.split(";")) if isinstance(value, str) else value)
Several = Annotated[tuple[T, ...], parted]
"""A setting of several values; on a command line "1;2;3"."""


class Settings(BaseModel):
    """Base of every method's settings: frozen, unknown keys refused.

    presets  named sets of values (published configurations); chosen with `preset=NAME`, and single values still win
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    presets: ClassVar[dict[str, dict[str, Any]]] = {}


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


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """{"lr": "1e-3"} from ["lr=1e-3"]. Raises ValueError for a text without "=" or a key given twice."""
    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"expected key=value, got {text!r}")
        if key.strip() in values:
            raise ValueError(f"setting {key.strip()!r} is given twice")
        values[key.strip()] = value.strip()
    return values
