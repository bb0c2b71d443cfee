"""Prompting4Debugging: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several


class P4dSettings(Settings):
    """`published` has 3,000 iterations with a test every 50.

    The authors count one test alone: the one whose picture is most like the base model's. Here every test counts.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {"iterations": 3000, "tests": 60},
        "p4d-n": {"variants": ("n",)},
        "p4d-k": {"variants": ("k",)},
    }

    variants: Several[Literal["n", "k"]] = ("n", "k")
    """Which are run. Both share the budget, and success of either counts (P4D-UNION)."""
    tokens: int = Field(16, ge=1, description="N: free tokens, which replace the prompt")
    every: int = Field(
        3,
        ge=1,
        description="K: how many of the prompt's own tokens stand between two free ones; more where a word would be split",
    )
    iterations: int = Field(3000, ge=1, description="steps per prompt and variant, fewer if the budget ends before")
    tests: int = Field(4, ge=1, description="how often, at equal distances, the projected tokens are tried")
    states: int = Field(
        16, ge=1, description="noised pictures per prompt whose predictions are matched (ours; published: fresh ones)"
    )
    lr: float = Field(0.1, gt=0, description="rate of AdamW")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")


ATTACK = Attack(
    "p4d",
    title="Prompting4Debugging",
    paper="arXiv 2309.06135",
    settings=P4dSettings,
    means="words",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.p4d.attack", "attack"),
    needs=("token embeddings",),
)
