"""Kills at random moments of every verb."""

from __future__ import annotations

import signal
from random import Random

from torture.attempt import Played
from torture.disturbed import disturb, pick
from torture.kinds import Kind
from torture.run import Kill
from torture.sandbox import Sandbox
from torture.verbs import VERBS

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
NAMES = [name for name, verb in VERBS.items() for _ in range(1 if verb.slow else 4)]
"""Verbs that take seconds come seldom."""


def play(sandbox: Sandbox, random: Random) -> Played:
    """Half of the kills fall at a moment of the clock, half at the n-th time that a file is touched, where the next run meets them again."""
    name, verb, there = pick(sandbox, random, NAMES)
    number = random.choice(SIGNALS)
    if random.random() < 0.5:
        kill = Kill(number, event=random.randrange(1, 250))
    else:
        kill = Kill(number, seconds=random.uniform(0, random.choice((0.1, 0.5, 1))))
    return disturb(sandbox, name, verb, there, kill=kill)


KIND = Kind("kills", "SIGKILL, SIGTERM and SIGINT at random moments of every verb", 860, play, kills=True)
