"""How prompts name a concept, for methods that edit text embeddings (no torch here: settings are made of it)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from excise.concepts import Concept, PromptPair
from excise.settings import Settings, Wanted

if TYPE_CHECKING:
    from excise.models import Model

Wording = Literal["name", "phrases", "templates"]
Expansion = Literal["none", "art", "object"]
_EXPANSIONS: dict[str, tuple[str, ...]] = {
    "none": ("{}",),
    "art": ("{}", "painting by {}", "art by {}", "artwork by {}", "picture by {}", "style of {}"),
    "object": ("{}", "image of {}", "photo of {}", "portrait of {}", "picture of {}", "painting of {}"),
}
"""Prompts around a name that UCE's authors add."""

ARTICLES = ("a ", "an ", "the ")

ARTISTS = Wanted("the artists to hold (published: the others of a list of 1734), such as preserve='Monet; Rembrandt'")
"""What the presets for artists of UCE's first code and of RECE do not work without."""


def _split(value: Any) -> Any:
    if not isinstance(value, str) or value in ("catalog", "masked"):
        return value
    return () if value == "none" else tuple(part.strip() for part in value.split(";") if part.strip())


Prompts = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A list of prompts; on a command line "first prompt; second prompt", or "none"."""

Shares = Annotated[tuple[float, ...], BeforeValidator(_split)]
"""A list of numbers; on a command line "0.3; 0.7"."""

Preserve = Annotated[Literal["catalog"] | tuple[str, ...], BeforeValidator(_split)]
"""A list of prompts, or "catalog": the other concepts that the model declares."""

Retain = Annotated[Literal["catalog", "masked"] | tuple[str, ...], BeforeValidator(_split)]
"""As `Preserve`, or "masked": the concept's own prompts without its words."""


class Redirecting(Settings):
    """Settings of methods that send a concept's prompts where a guide goes."""

    model_config = ConfigDict(allow_inf_nan=False)

    wording: Wording = Field(
        "phrases", description="prompts to edit: the plain name, every phrase, or every phrase in every template"
    )
    guide: str | None = Field(
        None, description="prompt to be given instead; default: the same prompt without the concept's words"
    )
    preserve: Preserve = Field(
        (), description='prompts to hold: "a dog; a house", none, or catalog (all other declared concepts)'
    )


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


def bare(phrase: str) -> str:
    """A phrase without its article.

    >>> bare("an owl")
    'owl'
    """
    return next((phrase[len(article) :] for article in ARTICLES if phrase.startswith(article)), phrase)


def _masked(concept: Concept, phrase: str) -> str:
    """What the templates put where a bare phrase stood ("something"); '' if they put nothing."""
    pairs = (concept.pair(template, phrase) for template in concept.templates)
    return next((pair.masked for pair in pairs if pair.prompt == phrase), "")
