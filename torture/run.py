"""One command in a fork: its end, what it printed, what it did that it must not."""

from __future__ import annotations

import atexit
import io
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torture.sandbox import Sandbox
from torture.watch import watch

PATIENCE = 20.0
"""Seconds after which a command hangs."""

MOST_MEMORY = 2 * 2**30
"""Bytes that a command may ask for beyond what the warm process has: so much that none of the tiny models needs a tenth of it."""

EVENTS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "shutil.rmtree",
    "shutil.copyfile",
    "fcntl.flock",
)
"""What a kill "at the n-th event" counts: everything that touches a file."""


@dataclass(frozen=True)
class Kill:
    """A signal at a moment: after so many seconds, or at the n-th event that touches a file, which a second run meets again."""

    signal: signal.Signals
    seconds: float | None = None
    event: int | None = None


@dataclass(frozen=True)
class Limits:
    """What a command has.

    memory     bytes that it may ask for
    file_size  bytes that a file may grow to; None: as many as it likes
    encoding   of its output
    closed     whether nobody reads its output
    patience   seconds after which it hangs
    """

    memory: int = MOST_MEMORY
    file_size: int | None = None
    encoding: str = "utf-8"
    closed: bool = False
    patience: float = PATIENCE


USUAL = Limits()
LEISURE = Limits(patience=300)
"""The second is for commands that are right, on a busy machine."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: `code` is its exit status, or minus the signal that ended it; `hung` if it had to be killed for its slowness."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float
    hung: bool = False
    seen: tuple[str, ...] = field(default=())


class Running:
    """A command that was started; `wait` for its end."""

    def __init__(
        self, sandbox: Sandbox, argv: str | Sequence[str], *, limits: Limits = USUAL, kill: Kill | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.sandbox, self.argv, self.kill, self.patience = (
            sandbox,
            tuple(argv.split() if isinstance(argv, str) else argv),
            kill,
            limits.patience,
        )
        self.notes = Path(tempfile.mkdtemp(prefix="notes-", dir=sandbox.root))
        started, ready = os.pipe()
        self.began = time.perf_counter()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(started)
            _be_the_command(self, limits, dict(environment or {}), ready)
        os.close(ready)
        os.read(started, 1)
        os.close(started)

    def wait(self) -> Ended:
        """Its end, or what it had come to when patience ended."""
        handle = os.pidfd_open(self.pid)
        if self.kill is not None and self.kill.seconds is not None and not _ended(handle, self.kill.seconds):
            os.kill(self.pid, self.kill.signal)
        hung = not _ended(handle, self.patience)
        os.close(handle)
        if hung:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        out, err, seen = ((self.notes / name).read_text("utf-8", "replace") for name in ("out", "err", "seen"))
        code, seconds = os.waitstatus_to_exitcode(status), time.perf_counter() - self.began
        return Ended(self.argv, code, out, err, seconds, hung, tuple(seen.splitlines()))


def run(sandbox: Sandbox, argv: str | Sequence[str], **how: object) -> Ended:
    """Start a command and wait for its end; `how` as `Running` takes it."""
    return Running(sandbox, argv, **how).wait()  # type: ignore[arg-type]


def _ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0, round(1000 * seconds))))


def _be_the_command(running: Running, limits: Limits, environment: dict[str, str], ready: int) -> None:
    """Become the command, in the fork; never returns. What stands here is what a fresh process has: folders, environment, streams."""
    code = 70
    try:
        os.setsid()
        sandbox = running.sandbox
        os.chdir(sandbox.work)
        os.environ.update({"HOME": str(sandbox.home), "TMPDIR": str(sandbox.tmp), **environment})
        for name in ("EXCISE_CACHE", "XDG_CACHE_HOME"):
            if name not in environment:
                os.environ.pop(name, None)
        tempfile.tempdir = None
        _redirect(running.notes, limits)
        seen = os.open(running.notes / "seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _limit(limits)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        watch(sandbox.root, sandbox.outside, seen)
        if running.kill is not None and running.kill.event is not None:
            _die_at(running.kill.signal, running.kill.event)
        sys.argv = ["excise", *running.argv]
        sys.modules["__main__"].__package__ = ""  # else errors name this program
        from excise.cli import main

        os.write(ready, b"!")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            atexit._run_exitfuncs()  # what is cleared at the end of a process
            code = _flushed(code)
        finally:
            os._exit(code)  # whatever happens: there must be no second campaign


def _flushed(code: int) -> int:
    """The exit status after the streams have been emptied, as the interpreter does it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120
    return code


def _redirect(notes: Path, limits: Limits) -> None:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(notes / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    if limits.closed:
        reads, writes = os.pipe()
        os.close(reads)
        os.dup2(writes, 1)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding=limits.encoding, errors=errors, write_through=False)
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )


def _limit(limits: Limits) -> None:
    used = (
        int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")).split()[1])
        * 1024
    )
    resource.setrlimit(resource.RLIMIT_DATA, (used + limits.memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size,) * 2)


def _die_at(number: signal.Signals, event: int) -> None:
    left = event

    def count(name: str, _: object) -> None:
        nonlocal left
        if name in EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    sys.addaudithook(count)
