"""A cache that is damaged, full of strangers' files or not to be written: a run goes on without it, and gives the same."""

from __future__ import annotations

from random import Random

from torture import same
from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox, remove
from torture.spoil import files, spoil
from torture.verbs import VERBS

NOWHERE = (
    {"HOME": "/dev/null"},
    {"EXCISE_CACHE": "/proc/nowhere"},
    {"EXCISE_CACHE": ""},
    {"EXCISE_CACHE": "notes.txt"},
    {"XDG_CACHE_HOME": "/dev/null"},
)


def play(sandbox: Sandbox, random: Random) -> Played:
    """An evaluation with a cache that is of no use."""
    verb, environment = VERBS["evaluate"], {}
    for name in verb.takes:
        sandbox.take(name, sandbox.cache if name == "cache" else None)
    if random.random() < 0.3:
        environment = random.choice(NOWHERE)
    elif random.random() < 0.2:
        remove(sandbox.cache)
        sandbox.own(sandbox.cache, b"a file where the folder should be")
    else:
        spoil(sandbox, random.choice(files(sandbox.cache)), random)
    played = attempt(sandbox, verb.argv(), verb.outputs, must="be done", environment=environment)
    made, reference = (
        same.content(folder / "made.json") for folder in (sandbox.work, sandbox.world / "verbs" / "evaluate" / "new")
    )
    return (
        played
        if played.ends[0].code or made == reference
        else played.and_wrong("differs", "the evaluation with a damaged cache")
    )


KIND = Kind("caches", "caches that are damaged or cannot be written", 25, play)
