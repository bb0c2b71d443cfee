"""Signals while a command is being imported: a fresh process each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from random import Random

from torture.attempt import Played
from torture.judge import of_end, of_paths
from torture.kinds import Kind
from torture.run import Ended
from torture.same import content
from torture.sandbox import Sandbox

CODE = "import os, sys; from excise.cli import main; os.write(1, b'!'); sys.exit(main())"
"""Before that it is Python that starts, and nothing of excise could hear a signal; what takes long is imported after it."""
EXPORTED = "made.safetensors"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("list", "methods"),
    ("info", "uce"),
    ("export", "uce", "--to", EXPORTED),
    ("--help",),
)


def play(sandbox: Sandbox, random: Random) -> Played:
    """What the console script does, interrupted somewhere on its way."""
    sandbox.take("uce")
    argv, number = random.choice(COMMANDS), random.choice((signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
    environment = {**os.environ, "HOME": str(sandbox.home), "TMPDIR": str(sandbox.tmp)}
    before, began = sandbox.looks(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *argv], cwd=sandbox.work, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_hears_interrupts,
    )  # fmt: skip
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    time.sleep(random.uniform(0, random.choice((0.1, 0.5, 3))))
    process.send_signal(number)
    out, err = process.communicate()
    ended = Ended(argv, process.returncode, out, err, time.perf_counter() - began)
    faults = of_end(ended, killed=True)
    done = ended.code == 0 or _exported(sandbox)  # a signal may come after the result
    faults += of_paths(before, sandbox.looks(), (EXPORTED,), done=done, killed=number == signal.SIGKILL)
    return Played((ended,), tuple(faults))


def _exported(sandbox: Sandbox) -> bool:
    """Whether the whole adapter is there."""
    return content(sandbox.work / EXPORTED) == content(sandbox.world / "lora.safetensors")


def _hears_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


KIND = Kind("starts", "signals while a command is imported", 80, play, kills=True)
