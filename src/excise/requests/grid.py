"""What a benchmark compares: methods with settings, and what each erases. Both are given as texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from excise.concepts import Catalog, Concept
from excise.digests import digest_text
from excise.files import fitting
from excise.methods import Method, get
from excise.quoting import quoted
from excise.settings import Settings, parse_named

SETS = {"objects": "object", "styles": "style", "members": "member"}
"""Words that stand for every declared concept of a kind."""


@dataclass(frozen=True)
class Entrant:
    """A method with its settings, as it was written."""

    text: str
    method: Method
    settings: Settings

    @classmethod
    def parse(cls, text: str) -> Entrant:
        """Read "mim:target=exclude,lr=5e-4". Raises ValueError for an unknown method or wrong settings."""
        name, values = parse_named(text)
        method = get(name)
        return cls(text, method, method.parse(values))


@dataclass(frozen=True)
class Task:
    """What a cell erases: concepts, all at once or one after another."""

    concepts: tuple[Concept, ...]
    in_turn: bool = False

    @classmethod
    def parse(cls, text: str, catalog: Catalog) -> Task:
        """Read "cat", "cat+dog" (together) or "cat>dog" (in turn). Raises ValueError for unknown names, or one named twice."""
        if "+" in text and ">" in text:
            raise ValueError(f"{quoted(text)} mixes + (together) and > (one after another)")
        concepts = tuple(catalog.resolve(name) for name in re.split("[+>]", text))
        if len({concept.label for concept in concepts}) < len(concepts):
            raise ValueError(f"{quoted(text)} names a concept twice")
        return cls(concepts, ">" in text)

    @property
    def label(self) -> str:
        return (">" if self.in_turn else "+").join(concept.label for concept in self.concepts)

    @property
    def file_name(self) -> str:
        names = [f"{each.kind}-{file_name(each.name)}" for each in self.concepts]
        return fitting(("_then_" if self.in_turn else "+").join(names))


def read_entrants(texts: Sequence[str]) -> tuple[Entrant, ...]:
    """Methods with settings; one that is named twice is there once. Raises ValueError for unknown methods or wrong settings."""
    return tuple(Entrant.parse(text) for text in dict.fromkeys(texts))


def read_tasks(texts: Sequence[str], catalog: Catalog) -> tuple[Task, ...]:
    """What is erased: names; several to erase together ("cat+dog") or one after another ("cat>dog"); "objects", "styles", "members" for each
    of a kind. What is named twice is there once. Raises ValueError for unknown names.
    """
    found: dict[str, Task] = {}
    for text in texts:
        tasks = [Task((concept,)) for concept in catalog.of_kind(SETS[text])] if text in SETS else [Task.parse(text, catalog)]
        found |= {task.label: task for task in tasks}
    return tuple(found.values())


def file_name(text: str) -> str:
    """A name for a file or folder that can be read; with a digest where letters had to be left out or there are too many."""
    safe = re.sub(r"[^\w=.,+-]+", "_", text)
    plain = re.fullmatch(r"[\w=.,:+ -]+", text) and safe not in (".", "..") and not (" " in text and "_" in text)
    return fitting(safe if plain else f"{safe}-{digest_text(text)[:6]}")
