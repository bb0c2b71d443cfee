"""What a run of a queue does: the edits that its result is put together from, and which of them are there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from excise.digests import digest_values
from excise.edits.manifest import MANIFEST
from excise.requests.grid import file_name
from excise.requests.removals import Queue, QueueEntry
from excise.results.removal_ledger import GivenBack, RemovalLedger, RemovalStep

STEPS = "steps"
"""The folder, in the result, with the edits that it is put together from."""


@dataclass(frozen=True)
class PlannedStep:
    """One edit of the result.

    name   of its folder below `steps`
    entries the requests that it serves
    how    kept: it is there; part: of an edit that is there, bit for bit; new: it is to be made
    whole  the name of the edit that it is a part of
    below  names of the edits that are on the model when it is made
    """

    name: str
    entries: tuple[QueueEntry, ...]
    how: Literal["kept", "part", "new"]
    below: tuple[str, ...]
    whole: str | None = None

    @property
    def works(self) -> tuple[str, ...]:
        return tuple(entry.work for entry in self.entries)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(entry.label for entry in self.entries)


def plan(queue: Queue, ledger: RemovalLedger | None) -> tuple[PlannedStep, ...]:
    """The edits of the result, in order. It depends on the file, and on edits in the result's folder that can be kept, and on nothing else.

    An edit can be kept if it would be made the same again: its requests, and the edits below it. A separable one can be kept whatever is
    below, and without its part of some concepts.
    """
    steps: list[PlannedStep] = []
    known = {step.name: step for step in ledger.steps} if ledger else {}
    for group in _groups(queue):
        below = tuple(step.name for step in steps)
        steps.append(_step(group, below, queue.out / STEPS, [step for step in known.values() if step.name not in below]))
    return tuple(steps)


def _groups(queue: Queue) -> Iterator[tuple[QueueEntry, ...]]:
    """Requests that are served by one edit: each alone, or all of one method and settings."""
    if queue.content.strategy == "sequential":
        yield from ((entry,) for entry in queue.wanted)
        return
    found: dict[str, list[QueueEntry]] = {}
    for entry in queue.wanted:
        found.setdefault(digest_values([entry.method.name, entry.settings.model_dump(mode="json")]), []).append(entry)
    yield from map(tuple, found.values())


def _step(entries: tuple[QueueEntry, ...], below: tuple[str, ...], folder: Path, known: Sequence[RemovalStep]) -> PlannedStep:
    works = {entry.work for entry in entries}
    name = _name(entries, [[entry.work for entry in entries], below])
    if _there(folder / name):
        return PlannedStep(name, entries, "kept", below)
    apart = [step for step in known if step.separable and works <= set(step.works) and _there(folder / step.name)]
    if same := next((step for step in apart if works == set(step.works)), None):
        return PlannedStep(same.name, entries, "kept", below)
    if apart:
        whole = apart[0].name
        name = _name(entries, [sorted(works), "of", whole])
        return PlannedStep(name, entries, "kept" if _there(folder / name) else "part", below, whole)
    return PlannedStep(name, entries, "new", below)


def _name(entries: Sequence[QueueEntry], about: object) -> str:
    """A folder's name that can be read, and that is another one if anything about the edit is."""
    first = entries[0].concept
    more = f"+{len(entries) - 1}" if len(entries) > 1 else ""
    return f"{first.kind}-{file_name(first.name)}{more}-{digest_values(about)[:12]}"


def _there(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


@dataclass(frozen=True)
class Outlook:
    """What a request came to, and what the next run does about it; "" if nothing."""

    entry: QueueEntry
    now: str
    next: str


def outlook(queue: Queue, ledger: RemovalLedger | None, steps: Sequence[PlannedStep]) -> list[Outlook]:
    """Of every request."""
    return [Outlook(entry, _now(entry, ledger), _next(entry, ledger, steps)) for entry in queue.entries]


def behind(ledger: RemovalLedger | None, steps: Sequence[PlannedStep]) -> bool:
    """Whether the result is not what the file asks for."""
    return [step.name for step in steps] != [step.name for step in (ledger.steps if ledger else ())]


def comes_back(ledger: RemovalLedger | None, steps: Sequence[PlannedStep]) -> GivenBack:
    """How concepts that the result erases and nobody wants erased any more are given back by a run."""
    return "by erasing others anew" if anew(ledger, steps) else "bit for bit"


def anew(ledger: RemovalLedger | None, steps: Sequence[PlannedStep]) -> list[str]:
    """Labels of concepts that the result erases and that a run erases by another edit: none that it has, and no part of one."""
    before = {record.work: record.step for record in ledger.erased.values()} if ledger else {}
    return [
        entry.label
        for step in steps
        for entry in step.entries
        if entry.work in before and before[entry.work] not in (step.name, step.whole)
    ]


def _now(entry: QueueEntry, ledger: RemovalLedger | None) -> str:
    record = next((each for each in ledger.records if each.key == entry.key), None) if ledger else None
    if record is None:
        return "not erased"
    if record.state == "served":
        return f"erased since {record.served}"
    if record.given_back == "was never erased":
        return record.given_back
    return f"given back on {record.withdrawn}, {record.given_back}"


def _next(entry: QueueEntry, ledger: RemovalLedger | None, steps: Sequence[PlannedStep]) -> str:
    record = next((each for each in ledger.records if each.key == entry.key), None) if ledger else None
    served = record is not None and record.state == "served"
    if not entry.wanted:
        if not served:
            return ""
        others = anew(ledger, steps)
        return f"gives it back by erasing {', '.join(others)} anew" if others else "gives it back bit for bit"
    if served and record is not None and record.work == entry.work:
        return "erases it anew" if entry.label in anew(ledger, steps) else ""
    return "erases it"
