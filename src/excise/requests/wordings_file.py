"""A user's file of other wordings: by concept, then by kind."""

from __future__ import annotations

from pathlib import Path

from excise.attacks.wording.known import Wordings
from excise.attacks.wording.making import check_own
from excise.concepts import Catalog, Concept
from excise.quoting import cut, quoted
from excise.requests.sources import read_yaml
from excise.settings import parse

WORDING = "wording"
"""The attack that asks them."""


def read_wordings(path: Path, concept: Concept, catalog: Catalog) -> Wordings:
    """The concept's wordings in a YAML or JSON file, such as `cat: {languages: {Russian: кошка}, own: [moggy, mouser]}`.

    Raises FileNotFoundError; ValueError in one line for a file that is none, has none of the concept, or lists a phrase of the catalog.
    """
    content = read_yaml(path)
    key = next((key for key in content if key.strip().lower() in (concept.name.lower(), concept.label.lower())), None)
    if key is None:
        there = ", ".join(map(cut, content)) or "none"
        raise ValueError(f"{path} has no wordings of {concept.label}; it has those of {cut(there, 200)}")
    try:
        found = {name: _parsed(name, each) for name, each in content.items()}[key]
        check_own(found, concept, catalog)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return found


def _parsed(name: str, content: object) -> Wordings:
    if not isinstance(content, dict):
        raise ValueError(f"{cut(name)} must be a mapping such as 'own: [moggy]', not {quoted(content)}")
    found = parse(Wordings, content, f"kind of wording of {cut(name)}")
    if next(found.named(), None) is None:
        raise ValueError(f"{cut(name)} has no wordings")
    return found
