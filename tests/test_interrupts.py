"""Ctrl-C while an edit is put on, is on, or is taken off: afterwards the model is wholly with it or without."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import torch

from excise.edits import Dense, Edit, Manifest, WeightEdit, applied_edits
from excise.edits.applied import base_fingerprint
from excise.erasure.run import Run
from excise.interrupts import uninterrupted
from excise.methods import get
from excise.models import Model
from excise.models.fingerprint import named_tensors

FILES = ("edits/applied.py", "edits/edit.py", "edits/adapter.py", "edits/weight_edit.py", "excise/interrupts.py")


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "as it was"
    signal.signal(signal.SIGINT, before)


class Interrupter:
    """Presses Ctrl-C at one line of the files that put edits on; counts the lines."""

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.inside if frame.f_code.co_filename.endswith(FILES) else None

    def inside(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event in ("line", "return"):
            self.lines += 1
            if self.lines == self.at:
                signal.raise_signal(signal.SIGINT)
        return self.inside


def interrupted(act: Callable[[], None], at: int) -> tuple[bool, int]:
    """Whether an act was interrupted at a line, and how many lines it got to."""
    interrupter = Interrupter(at)
    before = sys.gettrace()
    sys.settrace(interrupter)
    try:
        act()
        return False, interrupter.lines
    except KeyboardInterrupt:
        return True, interrupter.lines
    finally:
        sys.settrace(before)


def weight_edit(model: Model) -> Edit:
    names = [name for name in named_tensors(model) if "attn2" in name][:3]
    deltas = {name: Dense(torch.ones_like(named_tensors(model)[name])) for name in names}
    about = Manifest(model="x", base=base_fingerprint(model), method="mim", concepts=[{"kind": "object", "name": "x"}])
    return WeightEdit(deltas, about)


def adapter_edit(model: Model) -> Edit:
    method = get("spm")
    quick = {"rounds": 1, "steps": 1, "batch": 1, "trajectories": 1, "sampler_steps": 2}
    return method.erase(model, [model.catalog.resolve("cat")], method.parse(quick), Run(0))


@pytest.mark.parametrize("make", [weight_edit, adapter_edit])
def test_between_the_lines(make: Callable[[Model], Edit], canvas: Model) -> None:
    edit = make(canvas)
    base = {name: tensor.detach().clone() for name, tensor in named_tensors(canvas).items()}
    hooks = sum(len(module._forward_hooks) for module in canvas.denoiser.modules())

    def block() -> None:
        with edit.applied(canvas):
            assert applied_edits(canvas)

    def is_base() -> bool:
        same = all(torch.equal(base[name], tensor) for name, tensor in named_tensors(canvas).items())
        return same and sum(len(module._forward_hooks) for module in canvas.denoiser.modules()) == hooks

    _, lines = interrupted(block, 0)
    points = [*range(1, lines, lines // 16), *range(lines - 6, lines)]
    for at in points:
        stopped, _ = interrupted(block, at)
        assert stopped and applied_edits(canvas) == () and is_base(), f"line {at} of {lines}"
    _, lines = interrupted(lambda: edit.apply(canvas), 0)
    edit.remove(canvas)
    for at in [*range(1, lines, lines // 8), *range(lines - 8, lines)]:
        interrupted(lambda: edit.apply(canvas), at)
        assert is_base() != bool(applied_edits(canvas)), at
        if applied_edits(canvas):
            edit.remove(canvas)
            assert is_base()


def test_it_waits_and_then_acts() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("whole")
    assert done == ["whole"]


def test_it_acts_where_it_is_heard() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted() as heard, uninterrupted():
        try:
            with heard():
                signal.raise_signal(signal.SIGINT)
            done.append("heard too late")
        finally:
            done.append("tidied")
    assert done[-1] == "tidied"


def test_an_error_is_not_lost() -> None:
    with pytest.raises(ValueError), uninterrupted():
        raise ValueError
