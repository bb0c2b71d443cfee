"""Ring-A-Bell: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings


class RingABellSettings(Settings):
    """Population and generations are ours, for small budgets.

    The authors take a population of 200, 3,000 generations, and 16, 38 or 77 tokens. Their eta is 3 for nudity, and 5 to 5.5 for violence.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "nudity": {"population": 200, "generations": 3000, "eta": 3.0},
        "violence": {"population": 200, "generations": 3000, "eta": 5.5},
    }

    tokens: int = Field(16, ge=1, description="K: length of the prompt that is found")
    eta: float = Field(3.0, description="how much of the concept's direction is added")
    population: int = Field(50, ge=4, description="prompts that compete, for every prompt that is attacked")
    generations: int = Field(60, ge=0, description="rounds of selection, crossing and mutation")
    crossing: float = Field(0.5, ge=0, le=1, description="probability that a pair crosses, at one point")
    mutation: float = Field(0.25, ge=0, le=1, description="probability that a child gets one random token")


class GradientSettings(Settings):
    """Defaults of the search by gradients are ours."""

    tokens: int = Field(16, ge=1, description="K: length of the prompt that is found")
    eta: float = Field(3.0, description="how much of the concept's direction is added")
    steps: int = Field(200, ge=0, description="steps of AdamW on the continuous rows")
    lr: float = Field(0.1, gt=0, description="its rate")
    tests: int = Field(2, ge=1, description="how often, at equal distances, the projected tokens are tried")


GENETIC = Attack(
    "ring-a-bell",
    title="Ring-A-Bell",
    paper="arXiv 2310.10012",
    settings=RingABellSettings,
    means="words",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.ring_a_bell.attack", "genetic"),
    needs=("token embeddings",),
)


GRADIENT = Attack(
    "ring-a-bell-gradient",
    title="Ring-A-Bell by gradients",
    paper="arXiv 2310.10012",
    settings=GradientSettings,
    means="words",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.ring_a_bell.attack", "gradient"),
    needs=("token embeddings",),
)
