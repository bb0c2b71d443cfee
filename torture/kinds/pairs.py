"""Two commands at once with one output: one of them gets it, and no result is lost."""

from __future__ import annotations

import time
from random import Random

from torture import same
from torture.attempt import Played
from torture.judge import Fault, of_end, of_paths
from torture.kinds import Kind
from torture.references import Age, reference, supply
from torture.run import LEISURE, Running
from torture.sandbox import Sandbox
from torture.verbs import VERBS


def play(sandbox: Sandbox, random: Random) -> Played:
    """Start both within a tenth of a second, without leave to overwrite."""
    name = random.choice([name for name, verb in VERBS.items() if not verb.slow and name != "report"])
    verb = VERBS[name]
    supply(sandbox, name)
    before = sandbox.looks()
    first = Running(sandbox, verb.argv("old"), limits=LEISURE)
    time.sleep(random.choice((0, 0.01, 0.1)))
    second = Running(sandbox, verb.argv("new"), limits=LEISURE)
    ends = (first.wait(), second.wait())
    faults = [fault for ended in ends for fault in of_end(ended)]
    ages: tuple[Age, ...] = ("old", "new")
    done = [age for age, ended in zip(ages, ends, strict=True) if ended.code == 0]
    faults += of_paths(before, sandbox.looks(), (verb.output,), done=bool(done), killed=False)
    if not done:
        faults.append(Fault("refused", f"both: {ends[0].err.strip()} {ends[1].err.strip()}"))
    if len(done) == 2 and not verb.grows:
        faults.append(Fault("lost", "both ended well, and only one result is there"))
    if len(done) == 1 and not verb.grows:
        right = same.content(reference(sandbox.world, name, done[0]))
        if same.content(sandbox.work / verb.output) != right:
            faults.append(Fault("differs", f"{verb.output} is not the result of the command that ended well"))
    return Played(ends, tuple(faults))


KIND = Kind("pairs", "two commands at once with one output", 60, play, kills=True)
