"""Outputs that are not UTF-8, or that nobody reads any more."""

from __future__ import annotations

from random import Random

from torture.attempt import Must, Played, attempt
from torture.kinds import Kind
from torture.references import supply
from torture.run import Limits
from torture.sandbox import Sandbox
from torture.verbs import VERBS

RIGHT = ("list methods", "list attacks", "list concepts --model tiny", "info uce", "info tiny", "suite list")
COMMANDS = (
    *RIGHT, "--help", "erase --help", "erase größe-猫 --model sd1 --out größe-猫 --dry-run", "info 猫", "erase cat --nonsense", "nonsense",
    "list", "erase cat --seed x",
)  # fmt: skip


def play(sandbox: Sandbox, random: Random) -> Played:
    """A command whose output is ASCII or Latin-1, or whose reader is gone."""
    limits = random.choice(
        (Limits(encoding="ascii"), Limits(encoding="ascii"), Limits(encoding="latin-1"), Limits(closed=True))
    )
    must: Must = "end" if limits.closed else "be done"
    if random.random() < 0.3:
        name = random.choice(("export", "apply", "generate-folder", "restore", "evaluate"))
        supply(sandbox, name)
        return attempt(sandbox, VERBS[name].argv(), (VERBS[name].output,), must=must, limits=limits, grows=limits.closed)
    for name in ("tiny", "uce", "sd1"):
        sandbox.take(name)
    command = random.choice(COMMANDS)
    return attempt(sandbox, command, must=must if command in RIGHT else "end", limits=limits)


KIND = Kind("terminals", "terminals without UTF-8, closed pipes", 15, play)
