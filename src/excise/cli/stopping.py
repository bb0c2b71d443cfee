"""Being stopped: SIGINT (Ctrl-C), SIGTERM and SIGHUP end the process with exit code 128 + their number, whatever it is at.

Inside a run a signal is an exception, so that all that the run has begun is ended in order. Before and after there is nothing to be ended: the
process goes on the spot. One that comes while Python itself ends changes nothing: all is done then.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_AGAIN = 0.01
"""Seconds after which a signal that could not be raised is tried again."""

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
    signal.signal(signal.SIGALRM, lambda _, frame: _stop(_came or signal.SIGINT, frame))
    atexit.register(_done)  # while Python ends a signal that is not ignored kills
    sys.unraisablehook = _unraised


@contextmanager
def run() -> Iterator[None]:
    """Inside the block a signal is an exception; one that could not be raised there is raised at its end."""
    global _running
    _running = True
    try:
        yield
    finally:
        _running = False
        if _came is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if _came is not None:
        raise Stopped(_came)


def cause(error: BaseException) -> BaseException:
    """The signal that an exception comes from, or the exception itself: compiled code may raise one of its own for a signal."""
    return error if _came is None or isinstance(error, Stopped) else Stopped(_came)


def _stop(number: int, frame: FrameType | None) -> None:
    global _came
    if not _running:
        _leave(number)
    _came = number
    if _importing(frame):
        _try_again()
    else:
        raise Stopped(number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: some swallow every exception, or are of no use afterwards."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _unraised(what: Any) -> None:
    """Python drops what is raised in destructors and callbacks, and says so on stderr."""
    if isinstance(what.exc_value, Stopped):
        _try_again()
    else:
        sys.__unraisablehook__(what)


def _try_again() -> None:
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)


def _done() -> None:
    """Hear no signal from here on."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _leave(number: int) -> None:
    """End the process now."""
    _done()
    with suppress(Exception):  # what the run has left is not cleared yet if this comes right after it
        sys.modules["excise.files.leftovers"].clear_all()
    with suppress(OSError):
        os.write(2, b"excise: stopped\n")
    os._exit(128 + number)
