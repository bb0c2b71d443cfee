"""An erasure whose learning several processes share, each on a device of its own: one leads, the others do what it does and write nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory

from excise.erasure.run import Run
from excise.jobs.harden import counterexamples
from excise.jobs.inputs import load_wanted
from excise.jobs.processes import Worker
from excise.models import Model
from excise.models.team import ALONE, Team, joined
from excise.progress import Progress
from excise.requests.erase import EraseRequest

LAST_WORDS = 5.0
"""Seconds that the others have to say why they ended, when the leader misses one."""


@dataclass(frozen=True)
class _Part:
    """What a follower is told: the request, with its own device, and where it meets the others."""

    request: EraseRequest
    rank: int
    folder: Path

    @property
    def ready(self) -> Path:
        return self.folder / f"ready-{self.rank}"


@contextmanager
def together(request: EraseRequest, model: Model) -> Iterator[Team]:
    """Inside the block the processes of a request erase with the model of this one, which leads; of a request for one device it is alone.

    Raises what a follower raises, and RuntimeError if one dies.
    """
    if len(request.devices) < 2:
        yield ALONE
        return
    with TemporaryDirectory(prefix="excise-") as name:
        folder = Path(name)
        parts = [
            _Part(request.model_copy(update={"device": device}), rank, folder)
            for rank, device in enumerate(request.devices[1:], 1)
        ]
        workers: list[Worker] = []
        try:
            workers.extend(Worker.start(_follow, len(request.devices)) for _ in parts)
            _begin(workers, parts)
            with joined(0, len(request.devices), model.device, folder / "meeting") as team:
                model.team = team
                yield team
        except RuntimeError as error:
            raise _cause(workers, error) from None
        finally:
            model.team = ALONE
            for worker in workers:
                worker.end()


def _follow(part: _Part, progress: Progress) -> None:
    """A follower's work; what it makes is the leader's too."""
    request = part.request
    model = load_wanted(request)
    if request.low_memory:
        model.recompute()
    found = counterexamples(request.audits, model)
    checkpoint = request.workplace.checkpoint if request.workplace else None
    part.ready.touch()
    with joined(part.rank, len(request.devices), model.device, part.folder / "meeting") as team:
        model.team = team
        run = Run(request.seed, checkpoint, progress, found, team=team)
        request.chosen.erase(model, request.targets, request.parsed, run)


def _begin(workers: Sequence[Worker], parts: Sequence[_Part]) -> None:
    """Give every follower its part, and wait until all have their models."""
    for worker, part in zip(workers, parts, strict=True):
        how, why = worker.answer()
        if how != "began":
            raise RuntimeError(f"{why} before it could begin")
        worker.give(part)
    while not all(part.ready.exists() for part in parts):
        if wait([worker.connection for worker in workers], timeout=0.1):
            raise RuntimeError("a process ended")


def _cause(workers: Sequence[Worker], error: RuntimeError) -> Exception:
    """Why the leader lost the others, if one of them knows."""
    ended = wait([worker.connection for worker in workers], timeout=LAST_WORDS)
    for worker in workers:
        if worker.connection in ended:
            how, why = worker.answer()
            if how == "died":
                return RuntimeError(f"one of the processes that share the work ended: {why}")
            if how == "raised" and not _lost(why):
                return why
    return error


def _lost(error: Exception) -> bool:
    """Whether it says only that another process is gone."""
    return "Connection" in str(error) or "connection" in str(error)
