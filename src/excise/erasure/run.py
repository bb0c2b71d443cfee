"""What a method is told about the run it is part of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Generator

from excise.erasure.counterexamples import Counterexample
from excise.models.team import ALONE, Team
from excise.progress import Progress, silent
from excise.randomness import numbered_stream


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Run:
    """Seed, where checkpoints go (None: none are written), whom to tell how far the work is, and what showed the concepts before.

    task     method, concepts, model, device and versions, which a checkpoint is good for; every method enters them itself
    all_read called when the gradient loop begins, which reads no prompt
    team     the processes that do it together
    """

    seed: int = 0
    checkpoint: Path | None = None
    progress: Progress = field(default=silent)
    counterexamples: tuple[Counterexample, ...] = ()
    task: str = ""
    all_read: Callable[[], None] = _nothing
    team: Team = ALONE

    def generator(self, *stream: int) -> Generator:
        """A CPU generator that depends on the seed and on the stream's numbers alone."""
        return numbered_stream(self.seed, *stream)
