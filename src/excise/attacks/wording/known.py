"""Wordings that no rule makes: names in other languages, emoji, descriptions. A small file of the package has those of common requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from excise import bounds
from excise.files import as_record, parse_json
from excise.results.audit_result import WordingKind
from excise.settings import Given

Phrases = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class Wordings(Given):
    """Other wordings of one concept, by their kind.

    languages by the language: {"German": "Katze"}
    own       those of no other kind
    """

    languages: dict[str, str] = Field(default_factory=dict)
    emoji: Phrases = ()
    misspelt: Phrases = ()
    inflected: Phrases = ()
    described: Phrases = ()
    own: Phrases = ()

    @field_validator("*")
    @classmethod
    def _phrases(cls, value: Any) -> Any:
        """On one line each, as prompts are."""
        if isinstance(value, Mapping):
            return {language: _line(phrase) for language, phrase in value.items()}
        return tuple(map(_line, value))

    def named(self) -> Iterator[tuple[WordingKind, str, str]]:
        """Each with its kind and name."""
        yield from (("another language", language, phrase) for language, phrase in self.languages.items())
        kinds: dict[WordingKind, tuple[str, ...]] = {
            "emoji": self.emoji,
            "misspelt": self.misspelt,
            "inflected": self.inflected,
            "described": self.described,
            "own": self.own,
        }
        yield from ((kind, phrase, phrase) for kind, phrases in kinds.items() for phrase in phrases)


def _line(phrase: str) -> str:
    line = " ".join(phrase.split())
    if not line.strip(" ,:"):
        raise ValueError("a wording is empty")
    if len(line) > bounds.NAME:
        raise ValueError(f"a wording has {len(line)} characters, more than {bounds.NAME}")
    return line


class KnownWordings(Wordings):
    """An entry of the package's file.

    names of the concept; the first is the one that models declare
    """

    names: tuple[str, ...] = Field(min_length=1)


@cache
def known() -> tuple[KnownWordings, ...]:
    """Those that the package brings."""
    text = files("excise.attacks.wording").joinpath("wordings.json").read_text(encoding="utf-8")
    return tuple(as_record(parse_json(text), list[KnownWordings], "wordings.json", "a list of wordings"))


def known_of(names: set[str]) -> Wordings:
    """Those of a concept with one of these names, in small letters; none if the package has none."""
    return next((entry for entry in known() if names & {name.lower() for name in entry.names}), Wordings())
