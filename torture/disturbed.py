"""A right command that is disturbed: what must be true of its output afterwards, and of the same command given again."""

from __future__ import annotations

from random import Random

from torture import same
from torture.attempt import Played, attempt
from torture.judge import Fault
from torture.run import LEISURE, Kill, Limits
from torture.sandbox import Sandbox
from torture.verbs import VERBS, Verb


def pick(sandbox: Sandbox, random: Random, names: list[str]) -> tuple[str, Verb, bool]:
    """One of these verbs with all that it takes in the sandbox, and whether an earlier result lies at its output."""
    name = random.choice(names)
    verb = VERBS[name]
    for each in verb.takes:
        sandbox.take(each, sandbox.cache if each == "cache" else None)
    there = not verb.grows and random.random() < 0.5
    if there:
        for output in verb.outputs:
            sandbox.take(f"verbs/{name}/old/{output}", output)
    return name, verb, there


def disturb(
    sandbox: Sandbox,
    name: str,
    verb: Verb,
    there: bool,
    *,
    kill: Kill | None = None,
    limits: Limits = Limits(),
    starved: bool = False,
) -> Played:
    """Run the verb disturbed, look whether its output is the old or the new one, then run it again and compare with an undisturbed run."""
    argv = (*verb.argv(), *(verb.again if there else ()))
    first = attempt(sandbox, argv, verb.outputs, kill=kill, limits=limits, grows=verb.grows, starved=starved)
    if not verb.grows:
        first = Played(first.ends, (*first.faults, *_whole(sandbox, name, verb, there, first.ends[0].code == 0)))
    done = first.ends[0].code == 0
    more = verb.again if there or done else ()
    second = attempt(
        sandbox, (*verb.argv(), *more, *verb.resume), verb.outputs, must="be done", limits=LEISURE, grows=verb.grows
    )
    if second.ends[0].code == 0:
        second = Played(second.ends, (*second.faults, *_same(sandbox, name, verb)))
    return first + second


def _whole(sandbox: Sandbox, name: str, verb: Verb, there: bool, done: bool) -> list[Fault]:
    """The output is the old one or the new one; the new one if the command ended well."""
    world, faults = sandbox.world / "verbs" / name, []
    for output in verb.outputs:
        found = same.content(sandbox.work / output)
        allowed = [same.content(world / "new" / output)]
        if not done:
            allowed.append(same.content(world / "old" / output) if there else {})
        if found not in allowed:
            faults.append(
                Fault("lost" if there else "left", f"{output} is neither the old nor the new result: {sorted(found)}")
            )
    return faults


def _same(sandbox: Sandbox, name: str, verb: Verb) -> list[Fault]:
    faults = []
    for output in verb.outputs:
        found, right = (same.content(folder / output) for folder in (sandbox.work, sandbox.world / "verbs" / name / "new"))
        for file in sorted(found.keys() | right.keys()):
            if found.get(file) != right.get(file):
                faults.append(Fault("differs", f"{output}/{file}"))
    return faults
