"""Inverted latents: what it is called and what can be set."""

from __future__ import annotations

from typing import Literal

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several

Through = Literal["base", "erased"]
Told = Literal["prompt", "nothing"]


class InvertedLatentsSettings(Settings):
    """The paper has both models and both ways to ask; the number of steps is the model's own (ours)."""

    through: Several[Through] = ("base", "erased")
    """Which model the pictures are led back through: the one from before the erasure (who attacks has no access to the erased one, the
    paper's black box), or the attacked one (white box)."""

    told: Several[Told] = ("prompt", "nothing")
    """What the attacked model is asked from there: the prompt with its guidance, or the empty prompt."""


ATTACK = Attack(
    "inverted-latents",
    title="Inverted latents",
    paper="arXiv 2512.22877",
    settings=InvertedLatentsSettings,
    means="pictures",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.inverted_latents.attack", "attack"),
    needs=("diffusion path",),
)
