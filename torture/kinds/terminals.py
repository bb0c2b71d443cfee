"""Outputs that are not UTF-8, or that nobody reads any more."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.run import Limits
from torture.sandbox import Sandbox
from torture.verbs import VERBS

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("list", "methods"), ("list", "attacks"), ("list", "concepts", "--model", "tiny"), ("info", "uce"), ("info", "tiny"), ("--help",),
    ("erase", "--help"), ("suite", "list"), ("erase", "größe 猫", "--model", "sd1", "--out", "größe 猫", "--dry-run"), ("info", "猫"),
    ("erase", "cat", "--nonsense"), ("nonsense",), ("list",), ("erase", "cat", "--seed", "x"), (),
)  # fmt: skip


def play(sandbox: Sandbox, random: Random) -> Played:
    """A command whose output is ASCII or Latin-1, or whose reader is gone."""
    for name in ("tiny", "uce", "sd1"):
        sandbox.take(name)
    limits = random.choice(
        (Limits(encoding="ascii"), Limits(encoding="ascii"), Limits(encoding="latin-1"), Limits(closed=True))
    )
    if random.random() < 0.7:
        argv = random.choice(COMMANDS)
        right = (
            limits.encoding != "utf-8"
            and argv[:1] in (("list",), ("info",), ("suite",))
            and len(argv) > 1
            and argv != ("info", "猫")
        )
        return attempt(sandbox, argv, must="be done" if right else "end", limits=limits)
    verb = VERBS[random.choice(("export", "apply", "generate-folder", "restore", "evaluate"))]
    for name in verb.takes:
        if name not in ("tiny", "uce"):
            sandbox.take(name, sandbox.cache if name == "cache" else None)
    return attempt(
        sandbox, verb.argv(), verb.outputs, must="end" if limits.closed else "be done", limits=limits, grows=limits.closed
    )


KIND = Kind("terminals", "terminals without UTF-8, closed pipes", 20, play)
