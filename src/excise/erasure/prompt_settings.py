"""Settings of prompts that several methods have in common (no torch here): how a concept is named, what is held, what is given instead."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from excise.settings import Settings, Wanted

Wording = Literal["name", "phrases", "templates"]
Expansion = Literal["none", "art", "object"]


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


ARTISTS = Wanted("the artists to hold (published: the others of a list of 1734), such as preserve='Monet; Rembrandt'")
"""What the presets for artists of UCE's first code and of RECE do not work without."""


class Redirecting(Settings):
    """Settings of methods that send a concept's prompts where a guide goes."""

    wording: Wording = Field(
        "phrases", description="prompts to edit: the plain name, every phrase, or every phrase in every template"
    )
    guide: str | None = Field(
        None, description="prompt to be given instead; default: the same prompt without the concept's words"
    )
    preserve: Preserve = Field(
        (), description='prompts to hold: "a dog; a house", none, or catalog (all other declared concepts)'
    )
