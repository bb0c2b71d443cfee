"""Tasks spread over local processes: one that dies costs the task it was at, and nothing else."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from excise.jobs.crashes import ProcessDied
from excise.progress import Progress

Task = TypeVar("Task")
Result = TypeVar("Result")

PATIENCE = 30.0
"""Seconds that a process is given to end by itself."""


def in_processes(
    work: Callable[[Task, Progress], Result], tasks: Sequence[Task], count: int
) -> Generator[tuple[Task, Result | ProcessDied], None, None]:
    """Yield every task with its result, in the order in which they are done.

    work  called in `count` processes; each has its own copy (it must pickle) and an equal share of torch's threads

    Raises what `work` raises, and RuntimeError if a process cannot begin. No process outlives the iterator.
    """
    waiting, left = deque(tasks), len(tasks)
    running: dict[Any, Worker] = {}
    try:
        while left:
            while len(running) < min(count, left):
                process = Worker.start(work, count)
                running[process.connection] = process
            for connection in wait(list(running)):
                process = running[connection]
                task, (how, answer) = process.task, process.answer()
                if how == "raised":
                    raise answer
                if how == "died" and task is None:
                    raise RuntimeError(
                        f"{answer} before it could begin; a script needs `if __name__ == '__main__':` around its work"
                    )
                if how == "died" or not waiting:
                    running.pop(connection).end()
                else:
                    process.give(waiting.popleft())
                if task is not None:
                    left -= 1
                    yield task, answer
    finally:
        for process in running.values():
            process.end()


@dataclass
class Worker:
    """A process, the parent's end of the pipe to it, and what it is at (None: it is still beginning)."""

    process: BaseProcess
    connection: Connection
    task: Any = None

    @classmethod
    def start(cls, work: Callable[[Any, Progress], Any], count: int) -> Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, work, count), daemon=True)
        mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT}
        )  # Ctrl-C reaches all processes; the parent ends this one
        process.start()  # with the same mask, from its first instant on
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        there.close()  # so that its death is an end of file here
        return cls(process, here)

    def give(self, task: Any) -> None:
        self.task = task
        with suppress(OSError):  # if it is dead, its answer says so
            self.connection.send(task)

    def answer(self) -> tuple[str, Any]:
        """("began", None), ("done", result), ("raised", exception) or ("died", why)."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            code = self.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return "died", ProcessDied(f"the process {how}")

    def end(self) -> None:
        self.process.terminate()
        self.process.join(PATIENCE)
        self.process.kill()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Any, Progress], Any], count: int) -> None:
    """Do one task after another, until the process is terminated."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())  # not at once: what is half written is tidied up
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    connection.send(("began", None))
    while True:
        task = connection.recv()
        try:
            answer = "done", work(task, _while_wanted)
        except Exception as error:
            answer = "raised", error
        connection.send(answer)


def _while_wanted(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees; it ends the process if the parent is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        sys.exit()
