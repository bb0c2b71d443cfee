"""Memory and disk that ran out are one line and exit code 1, wherever the error comes from; bad input is never taken for it."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from excise.cli.errors import explain
from excise.files import reading, write_tensors
from excise.shortage import shortage


def inside(error: BaseException, *, cause: bool = False, hidden: bool = False) -> BaseException:
    """An error that came of another one, as libraries turn theirs."""
    try:
        try:
            raise error
        except BaseException as found:
            if cause:
                raise ValueError("could not be read") from found
            if hidden:
                raise ValueError("could not be read") from None
            raise RuntimeError("something else")  # noqa: B904  (this is the case)
    except BaseException as outer:
        return outer


CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
LACKING = [
    (OSError(errno.ENOSPC, "No space left on device"), "disk"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
    (OSError(errno.EFBIG, "File too large"), "disk"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
    (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk"),
    (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "disk"),
    (SafetensorError("Cannot allocate memory (os error 12)"), "memory"),
    (RuntimeError("unable to mmap 99 bytes from file </x>: Cannot allocate memory (12)"), "memory"),
    (RuntimeError(CPU), "memory"),
    (RuntimeError("std::bad_alloc"), "memory"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "memory"),
    (MemoryError(), "memory"),
]  # fmt: skip


@pytest.mark.parametrize("error, lacks", LACKING, ids=lambda value: str(value)[-40:])
def test_what_ran_out_is_recognised_in_and_behind_any_error(error: BaseException, lacks: str) -> None:
    for found in (error, inside(error), inside(error, cause=True), inside(error, hidden=True), inside(inside(error))):
        assert shortage(found) == lacks
        line, code = explain(found)
        assert code == 1 and {"disk": "the disk is full", "memory": "out of memory"}[lacks] in line and "\n" not in line
    with pytest.raises(type(error)), reading("x"):  # it is no fault of a file that was read then
        raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a concept named 'out of memory'"),
        ValueError("No space left on device"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        OSError("no device of that name"),
        RuntimeError("shapes cannot be multiplied"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_nothing_else_is_taken_for_it(error: BaseException) -> None:
    assert shortage(error) is None
    if isinstance(error, Exception):
        assert "the disk is full" not in explain(error)[0]


def test_errors_that_name_each_other_end(capsys: Any) -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert shortage(one) is None


def test_a_writer_says_what_the_system_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError) as told:
        write_tensors(tmp_path / "x.safetensors", {"a": torch.ones(1)})
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("library", [torch.ones, np.ones, bytearray])
def test_small_memory_is_one_line(library: Callable[[int], Any]) -> None:
    """Real allocations that fail."""
    before, used = resource.getrlimit(resource.RLIMIT_AS), int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used * resource.getpagesize() + 2**28, before[1]))
    try:
        with pytest.raises(Exception) as told:
            library(2**32)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    line, code = explain(told.value)
    assert code == 1 and line.startswith("error: out of memory")
