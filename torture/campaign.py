"""The campaign: which cases there are, and running them on all cores."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from torture.attempt import Played
from torture.judge import Fault
from torture.kinds import Kind, kinds
from torture.sandbox import Sandbox


@dataclass(frozen=True)
class Case:
    """A case of a kind, known by its number and the campaign's seed."""

    kind: str
    number: int
    seed: int

    @property
    def command(self) -> str:
        """How to see it again."""
        return f"python -m torture --only {self.kind} --number {self.number} --seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What a case came to, and the seconds of a processor that it took."""

    case: Case
    commands: tuple[tuple[str, ...], ...]
    codes: tuple[int, ...]
    faults: tuple[Fault, ...]
    seconds: float


def plan(inputs: int, kills: int, seed: int, only: Sequence[str] = ()) -> list[Case]:
    """The cases of a campaign, mixed: of every kind its share, and at least one."""
    chosen = [kind for kind in kinds().values() if not only or kind.name in only]
    cases = []
    for total, some in (
        (inputs, [kind for kind in chosen if not kind.kills]),
        (kills, [kind for kind in chosen if kind.kills]),
    ):
        shares = sum(kind.share for kind in some)
        cases += [Case(kind.name, number, seed) for kind in some for number in range(_count(total, kind, shares))]
    Random(seed).shuffle(cases)
    return cases


def _count(total: int, kind: Kind, shares: int) -> int:
    return max(1, round(total * kind.share / shares)) if total else 0


def play(case: Case, world: Path, scratch: Path) -> Played:
    """One case in a sandbox below `scratch`, which is left there."""
    root = scratch / f"{case.kind}-{case.number}"
    shutil.rmtree(root, ignore_errors=True)
    return kinds()[case.kind].play(Sandbox(root, world), Random(f"{case.seed} {case.kind} {case.number}"))


def run_all(cases: Sequence[Case], world: Path, scratch: Path, jobs: int, seconds: float | None = None) -> Iterator[Result]:
    """Every case by `jobs` forks of this process, in the order in which they end; none is begun after `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        waiting = [pool.submit(_result, case, world, scratch, deadline) for case in cases]
        for done in as_completed(waiting):
            if (result := done.result()) is not None:
                yield result


def _result(case: Case, world: Path, scratch: Path, deadline: float | None) -> Result | None:
    if deadline is not None and time.monotonic() > deadline:
        return None
    began = _processor()
    try:
        played = play(case, world, scratch)
    except Exception as error:
        raise RuntimeError(f"the campaign itself failed: {case.command}") from error
    shutil.rmtree(scratch / f"{case.kind}-{case.number}", ignore_errors=True)
    commands, codes = tuple(ended.argv for ended in played.ends), tuple(ended.code for ended in played.ends)
    return Result(case, commands, codes, tuple(dict.fromkeys(played.faults)), _processor() - began)


def _processor() -> float:
    """Seconds of a processor that this process and its children have had."""
    return sum(used.ru_utime + used.ru_stime for used in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))
