"""One command in a sandbox, and everything that is wrong with its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torture.judge import Fault, of_end, of_paths
from torture.run import USUAL, Ended, Kill, Limits, run
from torture.sandbox import Sandbox

Must = Literal["be done", "be refused", "end"]


@dataclass(frozen=True)
class Played:
    """What a case came to: its commands with their ends, and what was wrong."""

    ends: tuple[Ended, ...]
    faults: tuple[Fault, ...] = field(default=())

    def __add__(self, other: Played) -> Played:
        return Played(self.ends + other.ends, self.faults + other.faults)

    def and_wrong(self, sort: str, detail: str) -> Played:
        """The same with one more fault."""
        return Played(self.ends, (*self.faults, Fault(sort, detail)))


def attempt(
    sandbox: Sandbox,
    argv: str | Sequence[str],
    outputs: Collection[str] = (),
    *,
    named: Collection[str] = (),
    must: Must = "end",
    limits: Limits = USUAL,
    kill: Kill | None = None,
    environment: Mapping[str, str] | None = None,
    grows: bool = False,
    anywhere: bool = False,
    starved: bool = False,
) -> Played:
    """Run a command and judge it.

    argv     its words, or a text with blanks between them
    outputs  paths in `work` that it may write when it ends well
    named    words of which a refusal must have one
    must     what it has to do
    grows    whether it may leave parts of its outputs when it fails
    anywhere whether it may make new paths anywhere in `work`
    starved  whether it has less memory or disk than it needs
    """
    before = sandbox.looks()
    ended = run(sandbox, argv, limits=limits, kill=kill, environment=environment)
    after = sandbox.looks()
    faults = of_end(ended, named=named, killed=kill is not None, starved=starved)
    may_be_new = ended.code == 0 or grows or kill is not None  # a signal may come after the result
    crashed = ended.code < 0 or ended.hung
    faults += of_paths(before, after, outputs, done=may_be_new, killed=crashed, anywhere=anywhere)
    faults += [Fault("outside", f"{name} was read") for name in sandbox.opened()]
    if must == "be refused" and ended.code == 0:
        faults.append(Fault("accepted", ended.out.strip()[-200:]))
    if must == "be done" and ended.code != 0 and not ended.hung:
        faults.append(Fault("refused", ended.err.strip()[-300:]))
    return Played((ended,), tuple(dict.fromkeys(faults)))
