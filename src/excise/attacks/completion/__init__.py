"""Diffusion completion: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several


class CompletionSettings(Settings):
    """The default is ours, for 20 steps. Of 50 steps, the authors' code hands over after 1, 2 or 3, and their paper after 5 or 10."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"code": {"handovers": (1, 2, 3)}, "paper": {"handovers": (5, 10)}}

    handovers: Several[int] = (1, 2, 4)
    """Steps that the base model takes before the erased one goes on, fewest first."""

    @field_validator("handovers")
    @classmethod
    def _ascending(cls, handovers: tuple[int, ...]) -> tuple[int, ...]:
        if not handovers or list(handovers) != sorted(set(handovers)) or handovers[0] < 0:
            raise ValueError("handovers are numbers of steps, at least 0, ascending")
        return handovers


ATTACK = Attack(
    "completion",
    title="Diffusion completion",
    paper="arXiv 2505.17013",
    settings=CompletionSettings,
    means="pictures",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.completion.attack", "attack"),
    needs=("diffusion path",),
)
