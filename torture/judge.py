"""What must hold after every command, and what is wrong if it does not."""

from __future__ import annotations

import re
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torture.run import Ended
from torture.sandbox import Look

SORTS = {
    "traceback": "a traceback on the screen",
    "unexpected": "an error that nobody has thought of",
    "hang": "more than 20 s",
    "cost": "out of memory, from a small input",
    "crash": "ended by a signal that nobody sent, or with a code that means nothing",
    "line": "an error that is not one line of plain text",
    "unnamed": "a refusal that does not say which file is wrong",
    "escape": "control characters on the screen",
    "lost": "a file of the user's changed or gone",
    "left": "a path left behind",
    "outside": "something opened or written outside",
    "pickle": "a pickle opened",
    "program": "a program started",
    "code": "code of a stranger run",
    "network": "the network asked",
    "accepted": "done, though it must be refused",
    "refused": "refused, though it must be done",
    "differs": "other bits than an undisturbed run",
}  # fmt: skip
"""Everything that can be wrong, in the order of the table."""

CODES = (0, 1, 2, 129, 130, 143)
CACHE = "home/.cache"
"""Where what can be made again is kept: commands may write there as they like."""

_PASSING = re.compile(r"\.[a-z0-9_]{8}\.part(/|$)|/\.[^/]+\.lock$")
"""What is there while a command runs: a killed one leaves it, and the next one tidies it up."""

_PROGRESS = re.compile(r"\[(\d+:)?\d+:\d\d\] |before and after, until all is measured: ")
"""A line of progress: a run that is refused may have begun to load."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONGEST = 1000
"""Characters that an error's line may have beside paths (ours)."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, of one of `SORTS`."""

    sort: str
    detail: str


def of_end(ended: Ended, *, named: Collection[str] = (), killed: bool = False, starved: bool = False) -> list[Fault]:
    """What is wrong with how a command ended and what it printed.

    named    words of which a refusal must have one: the file's name or its folder's
    killed   whether it got a signal
    starved  whether it had little memory: it may say so, and libraries may end a process that gets none
    """
    faults = [Fault(*line.split(" ", 1)) for line in ended.seen]
    text = f"{ended.out}\n{ended.err}"
    if ended.hung:
        return [*faults, Fault("hang", _last(ended))]
    if "Traceback (most recent call last)" in text:
        faults.append(Fault("traceback", _last(ended)))
    if "(unexpected;" in text:
        faults.append(Fault("unexpected", _last(ended)))
    if "out of memory" in text and not starved:
        faults.append(Fault("cost", _last(ended)))
    deadly = (-signal.SIGKILL, -signal.SIGTERM) if killed else (-signal.SIGABRT, -signal.SIGKILL) if starved else ()
    if ended.code not in (*CODES, *deadly):
        faults.append(Fault("crash", f"code {ended.code}: {_last(ended)}"))
    if control := _CONTROL.search(text):
        faults.append(Fault("escape", f"{control[0]!r} in {text[max(0, control.start() - 40) : control.end() + 40]!r}"))
    if ended.code in (1, 2) and not any(fault.sort in ("traceback", "unexpected") for fault in faults):
        faults += _of_line(ended, named)
    return faults


def _of_line(ended: Ended, named: Collection[str]) -> list[Fault]:
    """A refusal is one line; a run that failed may have said of parts of it, a line each, that they have failed."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("excise: warning: ") and not _PROGRESS.match(line)]
    if not lines and ended.code == 1:
        return []
    if not all(line.startswith("excise: ") for line in lines) or not lines or (ended.code == 2 and len(lines) > 1):
        return [Fault("line", f"{len(lines)} lines: {ended.err[:300]!r}")]
    if longest := next((line for line in lines if len(line) > _LONGEST + sum(map(len, filter(_is_path, line.split())))), None):
        return [Fault("line", f"{len(longest)} characters: {longest[:200]!r}")]
    if ended.code == 2 and named and not any(word in lines[0] for word in named):
        return [Fault("unnamed", f"none of {', '.join(named)} in: {lines[0]}")]
    return []


def _is_path(word: str) -> bool:
    return "/" in word


def of_paths(
    before: Mapping[str, Look],
    after: Mapping[str, Look],
    outputs: Collection[str],
    *,
    done: bool,
    killed: bool,
    anywhere: bool = False,
) -> list[Fault]:
    """What is wrong with what has become of the files.

    outputs  paths in `work` that the command may write, and all below them
    done     whether its outputs may be new: if not, nothing new may be there, and what was at `outputs` must be as it was
    killed   whether it had no chance to tidy up
    anywhere whether new paths may be anywhere in `work`
    """
    faults = []
    for path in sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)):
        if path.startswith(CACHE) or ((done or killed) and _of_outputs(path, outputs, new=path not in before)):
            continue
        if path == "outside/pickle-was-opened":
            faults.append(Fault("pickle", "it made its file"))
        elif path in before:
            if path not in after and (_PASSING.search(path) or (done and _hidden(path, outputs, killed))):
                continue
            faults.append(Fault("lost", f"{path} was {'changed' if path in after else 'deleted'}"))
        elif not (anywhere and path.startswith("work/")) and not _hidden(path, outputs, killed):
            faults.append(Fault("left", path))
    if not killed:
        faults += [Fault("left", path) for path in after.keys() - before.keys() if _PASSING.search(path)]
    return list(dict.fromkeys(faults))


def _of_outputs(path: str, outputs: Collection[str], new: bool) -> bool:
    """Whether a path is an output, lies in one, or is a new folder that one lies in."""
    wholes = [f"work/{output}" for output in outputs]
    return any(path == whole or path.startswith(f"{whole}/") or (new and whole.startswith(f"{path}/")) for whole in wholes)


def _hidden(path: str, outputs: Collection[str], killed: bool) -> bool:
    """Whether a path is what an unfinished run keeps beside its output, or what a killed one could not take away."""
    for output in outputs:
        folder, _, name = f"work/{output}".rpartition("/")
        if re.match(rf"{re.escape(f'{folder}/.{name}')}\.work(/|$)", path):
            return True
        if killed and _PASSING.search(path) and path.startswith("work/"):
            return True
    return killed and path.startswith("tmp/")


def _last(ended: Ended) -> str:
    lines = ended.err.strip().splitlines() or ended.out.strip().splitlines()
    return lines[-1][:300] if lines else "(nothing printed)"
