"""The ledger's entries: what became of every request of a queue. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from excise.requests.removal_plan import PlannedStep
from excise.requests.removals import Queue, QueueEntry
from excise.results.removal_ledger import GivenBack, RemovalLedger, RemovalRecord


def records(
    queue: Queue, ledger: RemovalLedger, steps: Sequence[PlannedStep], returned: GivenBack
) -> tuple[RemovalRecord, ...]:
    """An entry for every request: of the file in its order, then those that were deleted there."""
    left = list(ledger.records)
    before = {entry.key: _taken(left, entry, served=True) for entry in queue.wanted}
    before |= {entry.key: _taken(left, entry, served=False) for entry in queue.entries if before.get(entry.key) is None}
    names = {entry.key: step.name for step in steps for entry in step.entries}
    told = [_of(entry, before[entry.key], names.get(entry.key), returned) for entry in queue.entries]
    return (*told, *(_withdrawn(record, returned) for record in left))


def _taken(left: list[RemovalRecord], entry: QueueEntry, *, served: bool) -> RemovalRecord | None:
    """The record of a request, taken from those that are left.

    Keys count a concept's requests in the file, so they change when an earlier one is deleted there. Of a concept one request at most is
    served: that one is known by this.
    """
    for record in left:
        if record.concept == entry.label and (record.state == "served" if served else record.key == entry.key):
            left.remove(record)
            return record
    return None


def _of(entry: QueueEntry, before: RemovalRecord | None, step: str | None, returned: GivenBack) -> RemovalRecord:
    removal = entry.removal
    now = RemovalRecord(
        key=entry.key,
        concept=entry.label,
        phrases=entry.concept.phrases,
        date=removal.date.isoformat() if removal.date else None,
        reason=removal.reason,
        method=entry.method.name,
        settings=entry.settings.model_dump(mode="json"),
        work=entry.work,
        state="served" if entry.wanted else "withdrawn",
        step=step,
        served=_today(),
    )
    if not entry.wanted:
        nothing = now.model_copy(update={"served": None, "withdrawn": _today(), "given_back": "was never erased"})
        return _withdrawn(before, returned) if before else nothing
    if before and before.state == "served" and before.work == entry.work:
        return now.model_copy(update={"served": before.served})
    return now


def _withdrawn(before: RemovalRecord, returned: GivenBack) -> RemovalRecord:
    """The entry of a request whose concept is not erased any more."""
    if before.state == "withdrawn":
        return before
    return before.model_copy(update={"state": "withdrawn", "step": None, "withdrawn": _today(), "given_back": returned})


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
