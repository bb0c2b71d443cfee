"""What memory an erasure will take, told before it begins, from the model's configs alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import psutil
import torch

from excise.erasure.training_settings import Trained
from excise.models.contents import is_large
from excise.models.drawing import Offload
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
    """What an erasure takes where the denoiser is, in bytes.

    parts    the model's networks
    away     of those the bytes that wait elsewhere while the others work (`offload`)
    released of those the bytes that are given back while weights are learned
    work     the largest passes through them
    trained  what is learned: copies, gradients, the optimizer's state
    learns   whether the method learns at all
    """

    parts: tuple[Part, ...]
    away: int
    released: int
    work: Work
    trained: int
    learns: bool

    @cached_property
    def total(self) -> int:
        """Everything at once, where it is the most: while prompts are read and pictures made, or while weights are learned."""
        weights = sum(part.bytes for part in self.parts) - self.away
        pictures = weights + max(self.work.sampling, self.work.decoding)
        learning = weights - self.released + self.trained + max(self.work.sampling, self.work.learning)
        return RUNTIME + (max(pictures, learning) if self.learns else pictures + self.trained)


def need(request: EraseRequest) -> Need:
    """What a request that was checked takes. Raises ValueError for a model on the hub, whose configs are not here."""
    where = resolve(request.model)
    if isinstance(where, str):
        raise ValueError(f"{where} is not here; what it takes can be told of a folder or a file")
    found = Footprint(where, parse_dtype(request.dtype), request.config_from)
    found.model.draw(request.drawing)
    if request.low_memory:
        found.model.recompute()
    settings = request.parsed.model_dump()
    trained = found.model.subspace(str(settings.get("parameters", "kv"))) or found.model.subspace("kv")
    pictures = min(found.model.batch(64), int(settings.get("trajectories", settings.get("pictures", 1)) or 1))
    work = found.work(trained, batch=int(settings.get("batch", 1)), pictures=pictures)
    numbers = sum(named_tensors(found.model)[name].numel() for name in trained)
    parts = {part.name: part.bytes for part in found.parts}
    others = {name: count for name, count in parts.items() if name not in found.model.editable}
    given_back = request.offload == "none" and where.is_dir()  # a single file's networks are not read again
    return Need(
        tuple(found.parts),
        away(found, others, request.offload),
        sum(parts.get(name, 0) for name in found.model.unedited_parts) if given_back else 0,
        work,
        COPIES * 4 * numbers,
        isinstance(request.parsed, Trained),
    )


def away(found: Footprint, others: Mapping[str, int], offload: Offload) -> int:
    """Bytes that are not on the device while the largest works of the networks that no edit changes (`others`, bytes by name)."""
    if offload == "none" or not others:
        return 0
    if offload == "model":
        return sum(others.values()) - max(others.values())
    layers = (tensor.nbytes for name in others for tensor in getattr(found.model.pipeline, name).parameters())
    return sum(others.values()) - max(layers)


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
        ways = ["--dtype bfloat16", "a smaller --size", "--set batch=1"]
        if isinstance(request.parsed, Trained) and not request.low_memory:
            ways.insert(0, "--low-memory")
        if request.offload == "none" and pick_device(request.device).type != "cpu":
            ways.append("--offload model")
        warnings.warn(
            f"this erasure will take about {gib(wanted)} and {gib(free)} are free; try {', '.join(ways[:-1])} or {ways[-1]}",
            stacklevel=2,
        )


def gib(count: int) -> str:
    """Bytes in words: "3.2 GiB".

    >>> gib(3 * 2**30)
    '3.0 GiB'
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
