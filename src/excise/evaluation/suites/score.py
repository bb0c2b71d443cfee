"""What a suite says of one answer set. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from excise.results.suite_result import SuiteFigures


@dataclass(frozen=True)
class Score:
    """What a suite says of one answer set.

    figures    by name
    detail     what they are made of: per concept, per class
    about      detector, weights, variant: what else makes the numbers
    warnings   what keeps them from being compared with published ones
    """

    figures: SuiteFigures
    detail: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
