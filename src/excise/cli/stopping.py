"""Being stopped: SIGINT (Ctrl-C), SIGTERM and SIGHUP end the process with exit code 128 + their number, whatever it is at.

Outside a run the process ends on the spot: an exception could be lost in what is being imported. Every write can stand that, and what is
half-written is tidied up first. Inside a run the signal is an exception, so that processes are ended and the terminal is left as it was.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

STOPPED = "excise: stopped"

_running = False
_came: int | None = None


class Stopped(KeyboardInterrupt):
    """A signal that came inside a run."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def listen() -> None:
    """Take the signals, but for those that the caller has the process ignore, as `nohup` and a shell's background jobs do."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _swallowed


@contextmanager
def run() -> Iterator[None]:
    """Inside the block a signal is an exception."""
    global _running
    _running = True
    try:
        yield
    finally:
        _running = False


def cause(error: BaseException) -> BaseException:
    """The signal that an exception comes from, or the exception itself: what is stopped while it is imported raises errors of its own."""
    return error if _came is None or isinstance(error, Stopped) else Stopped(_came)


def _stop(number: int, _: FrameType | None) -> None:
    global _came
    if not _running:
        _leave(number)
    _came = number
    raise Stopped(number)


def _swallowed(what: Any) -> None:
    """Python drops what is raised in destructors and the like, and says so; a signal there ends the process all the same."""
    if isinstance(what.exc_value, Stopped):
        _leave(what.exc_value.number)
    sys.__unraisablehook__(what)


def _leave(number: int) -> NoReturn:
    """End the process now, without a step of what it was at."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    with suppress(Exception):  # not imported here: that could be what was interrupted
        sys.modules["excise.files.replace"].tidy_up()
    with suppress(OSError):
        os.write(2, f"{STOPPED}\n".encode())
    os._exit(128 + number)
