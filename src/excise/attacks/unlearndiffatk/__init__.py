"""UnlearnDiffAtk: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings


class UnlearnDiffAtkSettings(Settings):
    """`published` takes 40 iterations at each of 50 timesteps, and a test after each timestep.

    The authors use 5 tokens for nudity, violence and illegal acts (`unsafe`), and 3 for everything else.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {"iterations": 2000, "tests": 50},
        "unsafe": {"iterations": 2000, "tests": 50, "tokens": 5},
    }

    tokens: int = Field(3, ge=1, description="free tokens before the prompt")
    iterations: int = Field(2000, ge=1, description="steps per prompt, fewer if the budget ends before")
    timesteps: int = Field(50, ge=1, description="noise levels, in ascending order, with fresh noise in every step")
    tests: int = Field(4, ge=1, description="how often, at equal distances, the likeliest tokens are tried")
    lr: float = Field(0.01, gt=0, description="rate of Adam")
    weight_decay: float = Field(0.1, ge=0, description="L2 pull of the probabilities")


ATTACK = Attack(
    "unlearndiffatk",
    title="UnlearnDiffAtk",
    paper="arXiv 2310.11868",
    settings=UnlearnDiffAtkSettings,
    means="words",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.unlearndiffatk.attack", "attack"),
    needs=("token embeddings",),
)
