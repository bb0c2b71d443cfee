"""A cache that is damaged, full of strangers' files or not to be written: a run goes on without it, and gives the same."""

from __future__ import annotations

from random import Random

from torture import same
from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.references import reference, supply
from torture.sandbox import Sandbox, remove
from torture.spoil import files, spoil
from torture.verbs import VERBS

NOWHERE = ({"HOME": "notes.txt"}, {"XDG_CACHE_HOME": "notes.txt/below"}, {"EXCISE_CACHE": ""}, {"EXCISE_CACHE": "notes.txt"})
"""Places where no folder can be made; and none."""


def play(sandbox: Sandbox, random: Random) -> Played:
    """An evaluation with a cache that is of no use."""
    verb, environment = VERBS["evaluate"], {}
    supply(sandbox, "evaluate")
    if random.random() < 0.3:
        environment = random.choice(NOWHERE)
    elif random.random() < 0.2:
        remove(sandbox.cache)
        sandbox.own(sandbox.cache, b"a file where the folder should be")
    else:
        spoil(sandbox, random.choice(files(sandbox.cache)), random)
    played = attempt(sandbox, verb.argv(), (verb.output,), must="be done", environment=environment)
    if played.ends[0].code == 0 and same.content(sandbox.work / verb.output) != same.content(
        reference(sandbox.world, "evaluate")
    ):
        return played.and_wrong("differs", "the evaluation with a damaged cache")
    return played


KIND = Kind("caches", "caches that are damaged or cannot be written", 5, play)
