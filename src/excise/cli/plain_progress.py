"""Progress where no bar can be drawn: a line when a stage begins, and one a minute while it lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

EVERY = 60.0
"""Seconds between two lines of one stage (ours): a log stays short, and nobody wonders whether the run still lives."""


@dataclass
class _Stage:
    """How far a stage is, and when and where it began."""

    name: str
    began: float
    first: int
    done: int
    total: int


class PlainProgress:
    """Tells progress in whole lines, each with the time since the run began.

    tell   writes a line
    every  seconds after which a stage that still lasts is told again, also if nothing was heard of it since
    clock  seconds that only grow
    """

    def __init__(self, tell: Callable[[str], None], every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.tell, self.every, self.clock = tell, every, clock
        self.began = self.told = clock()
        self.stages: dict[str, _Stage] = {}
        self.current: _Stage | None = None
        self.changing = threading.Lock()
        self.over = threading.Event()

    def __call__(self, stage: str, done: int, total: int) -> None:
        with self.changing:
            known = self.stages.get(stage)
            begins = known is None
            again = known is not None and done < known.done  # as in a benchmark: it is timed anew, and told no second time
            if begins or again:
                self.stages[stage] = _Stage(stage, self.clock(), done, done, total)
            self.current = self.stages[stage]
            self.current.done, self.current.total = done, total
            if begins:
                self._say(self.current)

    @contextmanager
    def watched(self) -> Iterator[PlainProgress]:
        """Inside the block a thread tells what lasts; where there is no room for one, stages are told when they begin, and that is all."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        with suppress(RuntimeError, MemoryError):
            watcher.start()
        try:
            yield self
        finally:
            self.over.set()
            if watcher.ident is not None:
                watcher.join(1.0)  # it may be writing; a reader that reads no more keeps nobody

    def remind(self) -> None:
        """Tell the stage that lasts, if the last line is old enough."""
        with self.changing:
            if self.clock() - self.told < self.every:
                return
            if self.current is not None:
                self._say(self.current)
            self.told = self.clock()

    def _watch(self) -> None:
        while not self.over.wait(max(0.0, self.told + self.every - self.clock())):
            self.remind()

    def _say(self, stage: _Stage) -> None:
        now = self.clock()
        parts = [stage.name]
        if stage.total > 1:
            parts.append(f"{stage.done} of {stage.total}")
        if stage.first < stage.done < stage.total:
            each = (now - stage.began) / (stage.done - stage.first)
            parts.append(f"about {_minutes(each * (stage.total - stage.done))} left")
        self.tell(f"[{_minutes(now - self.began)}] {', '.join(parts)}")
        self.told = now


def _minutes(seconds: float) -> str:
    """A time in minutes and seconds, with hours if there are any.

    >>> _minutes(61.0), _minutes(3725.0)
    ('1:01', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
