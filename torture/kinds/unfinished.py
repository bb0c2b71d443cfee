"""What a stopped erasure left: gone on with to the same bits, or refused."""

from __future__ import annotations

from random import Random

from torture import same
from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.references import reference, supply
from torture.sandbox import Sandbox
from torture.spoil import files, spoil
from torture.verbs import VERBS


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil the checkpoint or what says whose it is, and resume."""
    verb = VERBS["erase"]
    supply(sandbox, "erase")
    unfinished = sandbox.take("unfinished", ".made.work")
    named = spoil(sandbox, random.choice(files(unfinished)), random)
    played = attempt(sandbox, (*verb.argv(), *verb.resume), (verb.output, ".made.work"), named=named, grows=True)
    if played.ends[0].code == 0 and same.content(sandbox.work / verb.output) != same.content(reference(sandbox.world, "erase")):
        return played.and_wrong("differs", "the edit after a damaged checkpoint")
    return played


KIND = Kind("unfinished", "checkpoints of unfinished erasures", 6, play)
