"""Seed search: what it is called and what can be set."""

from __future__ import annotations

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings


class SeedSettings(Settings):
    """The default is the published number of tries."""

    tries: int = Field(40, ge=1, description="other seeds per prompt")


class WordSettings(Settings):
    """The number of tries is the published one."""

    tries: int = Field(
        40, ge=1, description="other prompts for every prompt: in turn another wording, and random words before the prompt"
    )
    tokens: int = Field(5, ge=1, description="random tokens, fewer where the prompt leaves no room")


SEEDS = Attack(
    "seeds",
    title="Seed search",
    paper="arXiv 2310.11868",
    settings=SeedSettings,
    means="sampler",
    quick={"tries": 6},
    run=Door("excise.attacks.search.attack", "seeds"),
)


PROMPTS = Attack(
    "prompts",
    title="Other wordings and random words",
    paper="arXiv 2310.11868",
    settings=WordSettings,
    means="words",
    run=Door("excise.attacks.search.attack", "prompts"),
)
