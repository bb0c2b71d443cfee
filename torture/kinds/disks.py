"""Disks that are full after so many bytes."""

from __future__ import annotations

from random import Random

from torture.attempt import Played
from torture.disturbed import disturb, pick
from torture.kinds import Kind
from torture.run import Limits
from torture.sandbox import Sandbox
from torture.verbs import VERBS


def play(sandbox: Sandbox, random: Random) -> Played:
    """No file may grow beyond some bytes; with more room the same command ends well."""
    name, verb, there = pick(sandbox, random, [name for name, verb in VERBS.items() if not verb.slow])
    limits = Limits(file_size=round(2 ** random.uniform(4, 21)))
    return disturb(sandbox, name, verb, there, limits=limits, starved=True)


KIND = Kind("disks", "disks that are full", 4, play)
