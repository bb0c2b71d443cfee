"""YAML files of options."""

from __future__ import annotations

from random import Random

from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import spoil


def play(sandbox: Sandbox, random: Random) -> Played:
    """A spoilt file of an erasure's options, shown by a dry run; some are given to a verb that they are not for."""
    sandbox.take("tiny")
    path = sandbox.take("run.yaml")
    spoil(sandbox, path, random)
    verb = random.choice(("erase",) * 6 + ("generate", "bench", "audit", "evaluate", "measure", "apply"))
    return attempt(sandbox, f"{verb} --config run.yaml --dry-run")


KIND = Kind("configs", "YAML files of options", 200, play)
