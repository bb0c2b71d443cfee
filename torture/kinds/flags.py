"""Options with values that nobody means."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.mutate import HOSTILE
from torture.references import supply
from torture.sandbox import Sandbox
from torture.verbs import VERBS

NUMBERS = (
    "0",
    "-1",
    "1",
    "1.5",
    "1e9",
    "1000000000",
    "1000000000000000000000",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "0x1",
    "1_0",
    " 2",
    "",
)
PATHS = (
    "notes.txt", "notes.txt/below", ".", "..", "", " ", "tiny", "tiny/unet", "uce", "uce/edit.json", "made\nmade", "made\x1b[2J.png",
    "made" * 80, "made/" * 60, "-", "--", "made.PNG", "made.txt", "./made/../made", "\ud800", "größe", "/dev/null", "/dev/full",
    "/proc/self/made", "~nowhere/x",
)  # fmt: skip
"""Where a user may point by mistake: nothing that is there may be lost."""

WORDS = (
    "cpu",
    "cuda",
    "meta",
    "cpu:9",
    "xla",
    "mps",
    "float64",
    "mixed",
    "ray",
    "coco",
    "none",
    "all",
    "quick",
    "mim:lr=",
    "a=b",
    "=",
    "a=",
    "style:",
    "cat>cat",
)
ODD = tuple(value for value in HOSTILE if "outside" not in value)
"""Texts that nobody means; a user may name a file outside, and then it is read."""

SKIPPED = ("--help", "--runner", "--jobs")


@cache
def _options(verb: str) -> tuple[str, ...]:
    """The options of a command, as it says them."""
    from typer.main import get_command

    from excise.cli import app

    commands: Any = get_command(app)
    return tuple(
        sorted({name for one in commands.commands[verb].params for name in one.opts if name.startswith("-")} - set(SKIPPED))
    )


def play(sandbox: Sandbox, random: Random) -> Played:
    """A right command with one or two options more."""
    name = random.choice([name for name, verb in VERBS.items() if not verb.slow])
    verb = VERBS[name]
    supply(sandbox, name)
    for each in {"tiny", "uce"} - set(verb.takes):
        sandbox.take(each)
    argv = list(verb.argv())
    for _ in range(random.choice((1, 1, 2))):
        argv += _more(argv[0], random)
    if random.random() < 0.6:
        argv.append("--dry-run")
    return attempt(
        sandbox,
        [word.encode("utf-8", "replace").decode().replace("\0", "") for word in argv],
        (verb.output,),
        anywhere=True,
        grows=verb.grows,
    )


def _more(verb: str, random: Random) -> Iterator[str]:
    option = random.choice((*_options(verb), "", "--nonsense", "-x"))
    value = random.choice(random.choice((NUMBERS, PATHS, WORDS, ODD)))
    if option:
        yield option
    yield value


KIND = Kind("flags", "options and arguments", 220, play)
