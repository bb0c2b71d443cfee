"""The most memory in use, MiB."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import device as Device


def forget_peak(device: Device) -> None:
    """Begin anew, where the system can (CUDA, Linux); elsewhere the peak stays that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb(device: Device) -> float:
    """On the GPU if that is the device, else of the process: since `forget_peak`, or since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii")):
            return int(found[1]) / 2**10
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
