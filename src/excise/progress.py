"""How a long job tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]
"""progress(stage, done, total)"""


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass
class StageClock:
    """A progress that passes on what it is told and notes where the time goes: what has passed since the last call is of the stage that calls.

    seconds by stage, in the order in which they began
    """

    inner: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.note(stage)
        self.inner(stage, done, total)

    def note(self, stage: str) -> None:
        """What has passed since the last call was this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now
