"""The line of heavy jobs: one works, the others wait for it in order. Everybody can see how long it is, nobody whose it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["waiting", "working", "done", "stopped", "failed"]

LONGEST = 20
"""Jobs that may wait (ours): more would wait for hours."""

PATIENCE = 10.0
"""Seconds after which a job that was told to stop is killed (ours): one step of a large model takes less, and nothing is lost by it."""


@dataclass
class HeavyJob:
    """One job, and how far it is.

    owner   whose it is
    title   what the page calls it
    clears  a folder that is deleted if the job does not come to its end
    told    why it failed
    """

    number: int
    owner: str
    title: str
    verb: str
    options: Mapping[str, Any]
    clears: Path | None = None
    state: State = "waiting"
    stage: str = ""
    done: int = 0
    total: int = 0
    told: str = ""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def unfinished(self) -> bool:
        return self.state in ("waiting", "working")

    @property
    def seconds(self) -> float:
        """How long it has worked, or waited."""
        return (self.ended or time.monotonic()) - self.began


class JobLine:
    """Carries out heavy jobs one at a time, each in a process of its own, in a thread that lives as long as the line."""

    def __init__(self) -> None:
        self.jobs: list[HeavyJob] = []
        self.count = 0
        self.process: subprocess.Popen[str] | None = None
        self.changed = threading.Condition()
        self.closed = False
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def add(self, owner: str, title: str, verb: str, options: Mapping[str, Any], clears: Path | None = None) -> HeavyJob:
        """Put a job at the end. Raises ValueError if its owner has one that is not finished, or if too many wait."""
        with self.changed:
            if (own := self._latest(owner)) is not None and own.unfinished:
                raise ValueError("one of your jobs is not finished yet; wait for it, or stop it")
            if sum(job.unfinished for job in self.jobs) >= LONGEST:
                raise ValueError("too many jobs are waiting; try again later")
            self.count += 1
            job = HeavyJob(self.count, owner, title, verb, options, clears)
            self.jobs = [each for each in self.jobs if each.owner != owner or each.unfinished] + [job]
            self.changed.notify_all()
            return job

    def latest(self, owner: str) -> HeavyJob | None:
        """The job that somebody gave last."""
        with self.changed:
            return self._latest(owner)

    def ahead(self, job: HeavyJob) -> int:
        """How many jobs come before one."""
        with self.changed:
            return sum(each.unfinished and each.number < job.number for each in self.jobs)

    def length(self) -> int:
        """How many jobs work or wait."""
        with self.changed:
            return sum(job.unfinished for job in self.jobs)

    def stop(self, owner: str) -> None:
        """Stop somebody's job, or take it out of the line."""
        with self.changed:
            job = self._latest(owner)
            if job is None or not job.unfinished:
                return
            working, job.state = job.state == "working", "stopped"
            if working and self.process is not None and self.process.stdin is not None:
                with suppress(OSError):
                    self.process.stdin.close()
                _later(self.process.kill)
            elif job.clears is not None:
                shutil.rmtree(job.clears, ignore_errors=True)

    def close(self) -> None:
        """Stop what works, and take no more."""
        with self.changed:
            self.closed = True
            owners = {job.owner for job in self.jobs}
            self.changed.notify_all()
        for owner in owners:
            self.stop(owner)
        self.thread.join(2 * PATIENCE)

    def _latest(self, owner: str) -> HeavyJob | None:
        return next((job for job in reversed(self.jobs) if job.owner == owner), None)

    def _next(self) -> HeavyJob | None:
        """The next job, which works now, as soon as there is one; None once the line is closed."""
        with self.changed:
            while not self.closed:
                for job in self.jobs:
                    if job.state == "waiting":
                        job.state, job.began = "working", time.monotonic()
                        self.process = _started(job)
                        return job
                self.changed.wait()
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            assert self.process is not None
            self._listen(job, self.process)
            with self.changed:
                if job.state == "working":
                    job.state = "failed" if self.process.returncode else "done"
                    job.told = job.told or ("it ended unexpectedly" if self.process.returncode else "")
                job.ended, self.process = time.monotonic(), None
            if job.state != "done" and job.clears is not None:
                shutil.rmtree(job.clears, ignore_errors=True)

    def _listen(self, job: HeavyJob, process: subprocess.Popen[str]) -> None:
        """Follow a job until its process has ended."""
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):  # a library that prints
                told = json.loads(line)
                if "error" in told:
                    job.told = told["error"]
                else:
                    job.stage, job.done, job.total = told["stage"], told["done"], told["total"]
        process.wait()
        process.stdout.close()
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]


def _later(act: Callable[[], None]) -> None:
    """Do something after `PATIENCE`, if the page lives so long; killing a process that has ended does nothing."""
    timer = threading.Timer(PATIENCE, act)
    timer.daemon = True
    timer.start()


def _started(job: HeavyJob) -> subprocess.Popen[str]:
    """The process of a job, which has its order."""
    command = [sys.executable, "-m", "excise.studio.heavy_job"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdin is not None
    with suppress(OSError):  # it has ended already
        process.stdin.write(json.dumps({"verb": job.verb, "options": dict(job.options)}) + "\n")
        process.stdin.flush()
    return process
