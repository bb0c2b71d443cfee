"""Tasks spread over a Ray cluster: an actor or a machine that dies costs nothing but the time it had spent on its task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from excise.jobs.crashes import ProcessDied
from excise.progress import Progress, silent

Task = TypeVar("Task")
Result = TypeVar("Result")


def on_ray(
    work: Callable[[Task, Progress], Result], tasks: Sequence[Task], count: int, *, gpu: bool = False
) -> Generator[tuple[Task, Result | ProcessDied], None, None]:
    """Yield every task with its result, in the order in which they are done; as `in_processes`, by `count` actors.

    gpu  an actor takes a GPU of its own, besides one CPU

    The cluster is the one that `RAY_ADDRESS` names, or else the one that runs on this machine; or else one is started here. There are no
    more actors than it has CPUs (GPUs). A task whose actor died is done by another one, at once: its machine may have been taken away. It
    has failed when it took a second actor with it. Where machines went, the actors that are left do the work; new ones join when there is
    room for them.

    Raises what `work` raises, RuntimeError if an actor cannot begin, and ValueError if the cluster has no CPU (GPU).
    """
    import ray

    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level="warning")
    slots = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
    if not slots:
        raise ValueError(f"the Ray cluster has no {'GPU' if gpu else 'CPU'}")
    actor_of = ray.remote(num_cpus=1, num_gpus=int(gpu))(_Actor)
    died = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError)
    waiting, tried = deque(range(len(tasks))), [0] * len(tasks)
    running: dict[
        Any, tuple[Any, int | None]
    ] = {}  # what is awaited -> its actor, and the number of its task; None: it is beginning

    def begin() -> None:
        actor = actor_of.remote(work)
        running[actor.begun.remote()] = actor, None

    try:
        for _ in range(min(count, len(tasks), slots)):
            begin()
        left = len(tasks)
        while left:
            (done,), _ = ray.wait(list(running))
            actor, number = running.pop(done)
            try:
                answer = ray.get(done)
            except died as error:
                ray.kill(actor)
                if getattr(error, "actor_init_failed", False):
                    raise RuntimeError(f"an actor of the Ray cluster cannot begin: {_lines(error)[-1]}") from error
                begin()
                if number is None:
                    continue
                tried[number] += 1
                if tried[number] == 1:
                    waiting.appendleft(number)
                    continue
                answer = ProcessDied(f"the actor ended, and so did another one before: {_lines(error)[0]}")
            else:
                if waiting:
                    following = waiting.popleft()
                    running[actor.do.remote(tasks[following])] = actor, following
                else:
                    ray.kill(actor)  # so that there is room for one that begins in the place of one that died
            if number is not None:
                left -= 1
                yield tasks[number], answer
    finally:
        for actor, _ in running.values():
            ray.kill(actor)


def _lines(error: Exception) -> list[str]:
    """What Ray says: first what became of the actor, at last the exception that it raised, if it did."""
    return str(error).strip().splitlines()


class _Actor:
    """A process of the cluster with its own copy of the work."""

    def __init__(self, work: Callable[[Any, Progress], Any]) -> None:
        self.work = work

    def begun(self) -> None:
        """Answers when it can work."""

    def do(self, task: Any) -> Any:
        return self.work(task, silent)
