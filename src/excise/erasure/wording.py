"""How prompts name a concept, and which prompts are to be held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from excise.concepts import Concept, PromptPair
from excise.erasure.prompt_settings import Expansion, Wording
from excise.models import Model

_EXPANSIONS: dict[str, tuple[str, ...]] = {
    "none": ("{}",),
    "art": ("{}", "painting by {}", "art by {}", "artwork by {}", "picture by {}", "style of {}"),
    "object": ("{}", "image of {}", "photo of {}", "portrait of {}", "picture of {}", "painting of {}"),
}
"""Prompts around a name that UCE's authors add."""


def worded(concept: Concept, wording: Wording, guide: str | None) -> list[PromptPair]:
    """The prompts that name a concept, each with its guide as `masked`.

    wording  the plain phrase alone, every phrase alone, or every phrase in every template and context
    guide    the prompt whose answer is wanted, or None: the same prompt without the concept's words
    """
    if wording == "templates":
        pairs = list(concept.pairs())
    else:
        phrases = concept.phrases[:1] if wording == "name" else concept.phrases
        pairs = [PromptPair(phrase, _masked(concept, phrase)) for phrase in phrases]
    return pairs if guide is None else [PromptPair(pair.prompt, guide) for pair in pairs]


def expanded(pairs: Sequence[PromptPair], kind: Expansion, *, guide_too: bool) -> list[PromptPair]:
    """The pairs, each also in the prompts that an expansion puts around names; the guides as well if `guide_too`."""
    return [
        PromptPair(around.format(pair.prompt), around.format(pair.masked) if guide_too else pair.masked)
        for pair in pairs
        for around in _EXPANSIONS[kind]
    ]


def preserved(model: Model, concepts: Sequence[Concept], lists: Iterable[str | tuple[str, ...]]) -> list[str]:
    """The distinct prompts of several `Preserve` settings, without those that are phrases of the concepts to erase.

    "catalog" stands for the plain phrase of every concept that the model declares.

    Raises ValueError for "catalog" where the model declares no concepts.
    """
    found: dict[str, None] = {}
    for prompts in lists:
        if prompts == "catalog":
            if not model.catalog.concepts:
                raise ValueError(f"{model.name} declares no concepts; list what to preserve, such as preserve='a dog; a house'")
            prompts = tuple(concept.phrases[0] for concept in model.catalog.concepts)
        found |= dict.fromkeys(prompts)
    erased = {phrase for concept in concepts for phrase in concept.phrases}
    return [prompt for prompt in found if prompt not in erased]


def _masked(concept: Concept, phrase: str) -> str:
    """What the templates put where a bare phrase stood ("something"); '' if they put nothing."""
    pairs = (concept.pair(template, phrase) for template in concept.templates)
    return next((pair.masked for pair in pairs if pair.prompt == phrase), "")
