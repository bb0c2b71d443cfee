"""Time, memory and what the machine can do: shared by the benchmarks."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def peak(function: Callable[[], Any]) -> tuple[float | None, Any]:
    """Peak resident memory of a call above what is held before it, in MiB (None where the system does not tell), and its result."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # give freed memory back first, or its reuse would go unseen
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = _status("VmRSS")
        result = function()
        return _status("VmHWM") - before, result
    except (OSError, AttributeError):
        return None, function()


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def timed(function: Callable[[], Any], repeats: int) -> tuple[dict[str, Any], Any]:
    """Best and median wall-clock seconds, CPU seconds of the best, and peak memory; and the last result."""
    walls, cpus, result = [], [], None
    for _ in range(repeats):
        result = None
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    result = None
    memory = None
    for _ in range(min(repeats, 3)):  # the least of a few: the first also counts what the libraries set up once
        result = None
        used, result = peak(function)
        memory = used if memory is None or used is None else min(used, memory)
    return {"best_s": min(walls), "median_s": statistics.median(walls), "cpu_s": min(cpus), "peak_mib": memory}, result


def machine() -> dict[str, Any]:
    """What this machine can do: float32 and float64 products, and copying or reading memory, best of five."""
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "processor": _processor()}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        a = torch.randn(1536, 1536, dtype=dtype)
        found[f"{name}_gflops"] = 2 * 1536**3 / timed(lambda a=a: a @ a, 5)[0]["best_s"] / 1e9
    source, target = torch.ones(2**26), torch.ones(2**26)
    copying = 2 * source.nbytes / timed(lambda: target.copy_(source), 5)[0]["best_s"]
    reading = source.nbytes / timed(source.sum, 5)[0]["best_s"]
    found["memory_gb_s"] = max(copying, reading) / 1e9
    found["load_average"] = os.getloadavg()[0]
    found["torch"] = torch.__version__
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
