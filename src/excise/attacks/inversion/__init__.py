"""Concept inversion: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings


class InversionSettings(Settings):
    """Defaults are ours: shorter, for small budgets.

    The authors of `cce` add up the gradients of 4 batches of 4, and their rate is a base rate times 16; here that is one batch of 16.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cce": {"steps": 5000, "batch": 16, "lr": 0.08, "pictures": 25, "init": "art"},
        "probe-suite": {"steps": 3000, "batch": 4, "lr": 2e-3, "pictures": 25, "init": "object"},
    }

    steps: int = Field(1000, ge=1, description="training steps, fewer if the budget ends before")
    batch: int = Field(8, ge=1, description="noised pictures per step")
    lr: float = Field(5e-3, gt=0, description="rate of Adam")
    pictures: int = Field(32, ge=1, description="pictures of the concept, made by the base model")
    init: str = Field("thing", description="word whose token rows, averaged, are the start")
    tests: int = Field(3, ge=1, description="how often, at equal distances, the word is tried on the prompts")
    largest: float | None = Field(None, gt=0, description="largest norm of the row, as a multiple of the table's largest")


ATTACK = Attack(
    "inversion",
    title="Concept inversion",
    paper="arXiv 2308.01508",
    settings=InversionSettings,
    means="pictures",
    needs_base=True,
    supplies=True,
    quick={"steps": 150},
    run=Door("excise.attacks.inversion.attack", "attack"),
    needs=("token embeddings",),
)
