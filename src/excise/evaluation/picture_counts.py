"""How much a measurement asks for if nobody says (ours)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from excise.information.budget import BESIDE, QUICK

Extent = Literal["quick", "full", "none"]
"""How much is measured of an erasure: little and soon, as much as the tables have, or nothing."""

NOT_ASKED = "no evaluation was asked for"
"""What a result without one says, where that is why."""


@dataclass(frozen=True)
class AskedFor:
    """What an extent asks for.

    target, other pictures of each erased concept, and of each other object
    bystanders    pictures of what no method is told of, in all
    budget        network evaluations for nats
    """

    target: int
    other: int
    bystanders: int
    budget: int


ASKED_FOR = {"quick": AskedFor(48, 4, 40, QUICK), "full": AskedFor(200, 24, 80, BESIDE)}
"""A share of 48 pictures has a 95 % interval of at most +-14 points, one of 200 of at most +-7. Of the other objects the mean is taken. Of
bystanders the canvas has 40: a picture of each, or two."""

_FULL = ASKED_FOR["full"]
TARGET_PICTURES, OTHER_PICTURES, BYSTANDER_PICTURES = _FULL.target, _FULL.other, _FULL.bystanders

DOWNSTREAM_PICTURES = 96
"""Of each group of pictures with which a task is measured that rides on the model."""
