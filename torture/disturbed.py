"""A right command that is disturbed: what must be true of its output afterwards, and of the same command given again."""

from __future__ import annotations

from random import Random

from torture import same
from torture.attempt import Played, attempt
from torture.judge import Fault
from torture.references import reference, supply
from torture.run import LEISURE, Kill, Limits
from torture.sandbox import Sandbox
from torture.verbs import VERBS, Verb


def pick(sandbox: Sandbox, random: Random, names: list[str]) -> tuple[str, Verb, bool]:
    """One of these verbs with all that it takes in the sandbox, and whether an earlier result lies at its output."""
    name = random.choice(names)
    verb = VERBS[name]
    supply(sandbox, name)
    there = not verb.grows and random.random() < 0.5
    if there:
        sandbox.take(reference(sandbox.world, name, "old"), verb.output)
    return name, verb, there


def disturb(
    sandbox: Sandbox,
    name: str,
    verb: Verb,
    there: bool,
    *,
    kill: Kill | None = None,
    limits: Limits = LEISURE,
    starved: bool = False,
) -> Played:
    """Run the verb disturbed, look whether its output is the old or the new one, then run it again and compare with an undisturbed run."""
    argv = (*verb.argv(), *(verb.again if there else ()))
    first = attempt(sandbox, argv, (verb.output,), kill=kill, limits=limits, grows=verb.grows, starved=starved)
    done = first.ends[0].code == 0
    if not verb.grows:
        first = Played(first.ends, (*first.faults, *_whole(sandbox, name, verb, there, done)))
        done = done or bool(same.content(sandbox.work / verb.output))  # a signal may come after the result
    more = verb.again if there or done else ()
    second = attempt(
        sandbox, (*verb.argv(), *more, *verb.resume), (verb.output,), must="be done", limits=LEISURE, grows=verb.grows
    )
    if second.ends[0].code == 0:
        second = Played(second.ends, (*second.faults, *_same(sandbox, name, verb)))
    return first + second


def _whole(sandbox: Sandbox, name: str, verb: Verb, there: bool, done: bool) -> list[Fault]:
    """The output is the old one or the new one; the new one if the command ended well."""
    found = same.content(sandbox.work / verb.output)
    allowed = [same.content(reference(sandbox.world, name))]
    if not done:
        allowed.append(same.content(reference(sandbox.world, name, "old")) if there else {})
    if found in allowed:
        return []
    return [Fault("lost" if there else "left", f"{verb.output} is neither the old nor the new result: {sorted(found)}")]


def _same(sandbox: Sandbox, name: str, verb: Verb) -> list[Fault]:
    found, right = same.content(sandbox.work / verb.output), same.content(reference(sandbox.world, name))
    files = [file for file in sorted(found.keys() | right.keys()) if found.get(file) != right.get(file)]
    return [Fault("differs", f"{verb.output}/{file}") for file in files]
