"""Tasks spread over a Ray cluster: an actor that dies costs the task it was at, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from excise.jobs.processes import ProcessDied
from excise.progress import Progress, silent

Task = TypeVar("Task")
Result = TypeVar("Result")


def on_ray(
    work: Callable[[Task, Progress], Result], tasks: Sequence[Task], count: int, *, gpu: bool = False
) -> Generator[tuple[Task, Result | ProcessDied], None, None]:
    """Yield every task with its result, in the order in which they are done; as `in_processes`, by `count` actors.

    gpu  an actor takes a GPU of its own, besides one CPU

    The cluster is the one that `RAY_ADDRESS` names, or else the one that runs on this machine; or else one is started here. There are no
    more actors than it has CPUs (GPUs). Raises what `work` raises, and ValueError if it has none.
    """
    import ray

    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level="warning")
    actor_of = ray.remote(num_cpus=1, num_gpus=int(gpu))(_Actor)
    slots = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
    if not slots:
        raise ValueError(f"the Ray cluster has no {'GPU' if gpu else 'CPU'}")
    waiting, idle = deque(tasks), [actor_of.remote(work) for _ in range(min(count, len(tasks), slots))]
    running: dict[Any, tuple[Any, Task]] = {}
    try:
        while waiting or running:
            while waiting and idle:
                actor, task = idle.pop(), waiting.popleft()
                running[actor.do.remote(task)] = actor, task
            (done,), _ = ray.wait(list(running))
            actor, task = running.pop(done)
            idle.append(actor)
            try:
                answer = ray.get(done)
            except ray.exceptions.RayActorError as error:
                idle[-1] = actor_of.remote(work)
                answer = ProcessDied(f"the actor ended: {str(error).splitlines()[0]}")
            yield task, answer
    finally:
        for actor in [*idle, *(actor for actor, _ in running.values())]:
            ray.kill(actor)


class _Actor:
    """A process of the cluster with its own copy of the work."""

    def __init__(self, work: Callable[[Any, Progress], Any]) -> None:
        self.work = work

    def do(self, task: Any) -> Any:
        return self.work(task, silent)
