"""Ctrl-C at the wrong moment: a change that must be made as a whole is not torn."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

Heard = Callable[[], AbstractContextManager[None]]


@contextmanager
def uninterrupted() -> Iterator[Heard]:
    """Inside the block Ctrl-C waits: it acts at the block's end, or where the block says `with heard():`.

    Blocks may be nested. In a thread that is not the main one nothing has to wait: Python raises KeyboardInterrupt in the main thread alone.
    """
    act = signal.getsignal(signal.SIGINT)
    if not callable(act) or threading.current_thread() is not threading.main_thread():
        yield nullcontext
        return
    waits, came = True, False

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if waits:
            came = True
        else:
            act(number, frame)

    def deliver() -> None:
        nonlocal waits, came
        waits = False
        if came:
            came = False
            act(signal.SIGINT, None)

    @contextmanager
    def heard() -> Iterator[None]:
        nonlocal waits
        deliver()
        try:
            yield
        finally:
            waits = True

    signal.signal(signal.SIGINT, wait)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, act)
    deliver()
