"""What memory an erasure will take, told before it begins, from the model's configs alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import psutil
import torch

from excise.models.contents import is_large
from excise.models.fingerprint import named_tensors
from excise.models.footprint import Footprint, Part, Work
from excise.models.loading import parse_dtype, pick_device
from excise.models.names import resolve
from excise.requests.erase import EraseRequest

RUNTIME = 600 * 2**20
"""Bytes of Python with its libraries (measured: 420 to 600 MiB on Linux)."""

COPIES = 4
"""Float32 tensors for each that is trained: its values, its gradient, and two running means of an optimizer."""


@dataclass(frozen=True)
class Need:
    """What an erasure takes, in bytes.

    parts   the model's networks
    work    the largest passes through them
    trained what is learned: copies, gradients, the optimizer's state
    """

    parts: tuple[Part, ...]
    work: Work
    trained: int

    @cached_property
    def total(self) -> int:
        """Everything at once, where it is the most."""
        weights = sum(part.bytes for part in self.parts)
        return RUNTIME + weights + self.trained + max(self.work.sampling, self.work.decoding, self.work.learning)


def need(request: EraseRequest) -> Need:
    """What a request that was checked takes. Raises ValueError for a model on the hub, whose configs are not here."""
    where = resolve(request.model)
    if isinstance(where, str):
        raise ValueError(f"{where} is not here; what it takes can be told of a folder or a file")
    found = Footprint(where, parse_dtype(request.dtype), request.config_from)
    found.model.draw(request.drawing)
    settings = request.parsed.model_dump()
    trained = found.model.subspace(str(settings.get("parameters", "kv"))) or found.model.subspace("kv")
    pictures = min(found.model.batch(64), int(settings.get("trajectories", settings.get("pictures", 1)) or 1))
    work = found.work(trained, batch=int(settings.get("batch", 1)), pictures=pictures)
    numbers = sum(named_tensors(found.model)[name].numel() for name in trained)
    return Need(tuple(found.parts), work, COPIES * 4 * numbers)


def available(device: str | None) -> int:
    """Free bytes where the networks will be."""
    picked = pick_device(device)
    return torch.cuda.mem_get_info(picked)[0] if picked.type == "cuda" else psutil.virtual_memory().available


def warn_if_short(request: EraseRequest) -> None:
    """Warn in one line of an erasure that will probably not fit."""
    if not is_large(resolve(request.model)):
        return
    free, wanted = available(request.device), need(request).total
    if wanted > free:
        warnings.warn(
            f"this erasure will take about {gib(wanted)} and {gib(free)} are free; try --dtype bfloat16, a smaller --size, or --set batch=1",
            stacklevel=2,
        )


def gib(count: int) -> str:
    """Bytes in words: "3.2 GiB".

    >>> gib(3 * 2**30)
    '3.0 GiB'
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
