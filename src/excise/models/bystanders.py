"""Bystanders: things that a model knows, that no request names and that no method is told of. No torch here.

What everybody names is looked after; erasure does its harm unseen where nobody looks. So a model lists some things apart from its catalog, and
only evaluations and `excise measure --against bystanders` read that list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from excise.concepts import Catalog, Concept
from excise.quoting import quoted


@dataclass(frozen=True)
class Bystander:
    """A thing that a model knows and that its catalog leaves out.

    concept     what prompts call it: an object in the styles and templates of the catalog, which does not have it
    head, shown the classifier's head and class that recognise it
    """

    concept: Concept
    head: str
    shown: str


def read_bystanders(entries: Sequence[Mapping[str, Any]], catalog: Catalog) -> tuple[Bystander, ...]:
    """The `bystanders` of an `excise.json`, beside its catalog.

    Raises ValueError for two of one name, and for one whose name or phrase is a concept's: a method may be told of that.
    """
    styles = tuple(style.phrases[0] for style in catalog.of_kind("style"))
    told = {text.lower(): concept for concept in catalog.concepts for text in (concept.name, *concept.phrases)}
    found: dict[str, Bystander] = {}
    for entry in entries:
        concept = Concept(entry["name"], "object", tuple(entry["phrases"]), styles, catalog.templates)
        name = concept.name.lower()
        if name in found:
            raise ValueError(f"there are two bystanders {quoted(concept.name)}")
        for text in (concept.name, *concept.phrases):
            if named := told.get(text.lower()):
                raise ValueError(f"bystander {quoted(concept.name)} is no bystander: {quoted(text)} names {named.label}")
        found[name] = Bystander(concept, entry["head"], entry.get("class", concept.name))
    return tuple(found.values())
