"""The edits that a request names, as far as their manifests say: their tensors are not read here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from excise.concepts import Catalog, Concept
from excise.edits.manifest import Manifest


def read_manifests(folders: Sequence[Path]) -> tuple[Manifest, ...]:
    """The manifests of the edits in these folders, in order. Raises FileNotFoundError or ValueError."""
    return tuple(Manifest.of(folder) for folder in folders)


def erased_concepts(manifests: Sequence[Manifest], catalog: Catalog) -> tuple[Concept, ...]:
    """What edits say they erase, each concept once, named also by the phrases that it was erased with.

    Raises ValueError for a concept that a closed catalog does not have.
    """
    phrases: dict[str, list[str]] = {}
    for manifest in manifests:
        for label, concept in zip(manifest.names, manifest.concepts, strict=True):
            phrases.setdefault(label, []).extend(concept.get("phrases", ()))
    return tuple(catalog.resolve(label, also=tuple(dict.fromkeys(also))) for label, also in phrases.items())
