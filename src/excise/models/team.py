"""Several processes that do one model's work together: each asks the network about its part of every batch, and all get all answers.

Every process runs the same program on its own copy of the model, with the same seeds. Only the network's answers are shared, and the gradients
of what is learned from them: their sums are the same as one process would make, to rounding.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another one's answer (ours): longer than any batch takes."""


class Team:
    """The processes, as one of them sees them; one alone where nobody says otherwise.

    rank  which of them this one is; 0 leads, and writes what there is to write
    size  how many there are
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._apart, self._learning = False, False

    @property
    def leads(self) -> bool:
        """Whether this process writes checkpoints."""
        return self.rank == 0

    def shares(self, count: int) -> bool:
        """Whether a batch of so many rows is predicted in parts now. With gradients that is while something learns, when they are averaged."""
        return 1 < self.size <= count and not self._apart and (self._learning or not torch.is_grad_enabled())

    def part(self, count: int) -> slice:
        """The rows of a batch that are this process's."""
        return _parts(count, self.size)[self.rank]

    def gathered(self, own: Tensor, count: int) -> Tensor:
        """All rows of a batch, in order, where every process has its own part; with gradients, which `average` makes whole."""
        return _Gathered.apply(own, self, count)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Inside the block every process asks its own network alone."""
        before, self._apart = self._apart, True
        try:
            yield
        finally:
            self._apart = before

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Inside the block gradients flow through shared predictions; `average` must follow."""
        self._learning = True
        try:
            yield
        finally:
            self._learning = False

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """The gradients of all processes in the place of this one's."""
        if self.size == 1 or not parameters:
            return
        there = torch.tensor([float(each.grad is not None) for each in parameters], device=parameters[0].device)
        dist.all_reduce(there, dist.ReduceOp.MAX)
        found = [each for each, is_there in zip(parameters, there.tolist(), strict=True) if is_there]
        for each in found:
            each.grad = torch.zeros_like(each) if each.grad is None else each.grad.contiguous() / self.size
            dist.all_reduce(each.grad)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of what every process has."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def follow_leader(self, tensors: Iterable[Tensor]) -> None:
        """Take the leader's tensors, in place: what is rounded otherwise elsewhere must not stay so."""
        if self.size > 1:
            with torch.no_grad():
                for tensor in tensors:
                    dist.broadcast(tensor.data, 0)

    def agreed(self, answer: bool) -> bool:
        """The leader's answer to a question that decides what comes next."""
        if self.size > 1:
            told = [answer]
            dist.broadcast_object_list(told, 0)
            answer = told[0]
        return answer


ALONE = Team()
"""A process that works by itself."""


@contextmanager
def joined(rank: int, size: int, device: torch.device, meeting: Path) -> Iterator[Team]:
    """Meet the other processes; `meeting` is a file that is not there yet, of all of them."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if sys.platform == "linux":  # all are on this machine, whatever its name leads to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(_backend(device), init_method=meeting.as_uri(), rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Team(rank, size)
    finally:
        dist.destroy_process_group()


def _backend(device: torch.device) -> str:
    """What carries tensors between the processes: sums are also made of some that stay on the CPU."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, team: Team, count: int) -> Tensor:
        ctx.rows, ctx.size = team.part(count), team.size
        parts = [own.new_empty(rows.stop - rows.start, *own.shape[1:]) for rows in _parts(count, team.size)]
        parts[team.rank] = own.contiguous()
        for rank, part in enumerate(parts):
            dist.broadcast(part, rank)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[ctx.rows] * ctx.size, None, None  # once for every process, which `average` divides by


def _parts(count: int, size: int) -> list[slice]:
    """Slices of `count` rows, as equal as they can be."""
    ends = [count * rank // size for rank in range(size + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]
