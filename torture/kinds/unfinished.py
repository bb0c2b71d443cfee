"""What a stopped erasure left: gone on with to the same bits, or refused."""

from __future__ import annotations

from random import Random

from torture import same
from torture.attempt import Played, attempt
from torture.kinds import Kind
from torture.sandbox import Sandbox
from torture.spoil import files, spoil
from torture.verbs import VERBS


def play(sandbox: Sandbox, random: Random) -> Played:
    """Spoil the checkpoint or what says whose it is, and resume."""
    verb = VERBS["erase"]
    for name in verb.takes:
        sandbox.take(name, sandbox.cache if name == "cache" else None)
    unfinished = sandbox.take("unfinished", ".made.work")
    named = spoil(sandbox, random.choice(files(unfinished)), random)
    played = attempt(sandbox, (*verb.argv(), *verb.resume), (*verb.outputs, ".made.work"), named=named, grows=True)
    made, reference = (same.content(folder / "made") for folder in (sandbox.work, sandbox.world / "verbs" / "erase" / "new"))
    return (
        played
        if played.ends[0].code or made == reference
        else played.and_wrong("differs", "the edit after a damaged checkpoint")
    )


KIND = Kind("unfinished", "checkpoints of unfinished erasures", 25, play)
