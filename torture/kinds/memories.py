"""Machines with little memory."""

from __future__ import annotations

from random import Random

from torture.attempt import Played
from torture.disturbed import disturb, pick
from torture.kinds import Kind
from torture.run import Limits
from torture.sandbox import Sandbox
from torture.verbs import VERBS


def play(sandbox: Sandbox, random: Random) -> Played:
    """A command gets little more memory than the process has that it is forked from; with enough it ends well."""
    name, verb, there = pick(sandbox, random, [name for name, verb in VERBS.items() if not verb.slow])
    return disturb(sandbox, name, verb, there, limits=Limits(memory=round(2 ** random.uniform(18, 26))), starved=True)


KIND = Kind("memories", "little memory", 4, play)
