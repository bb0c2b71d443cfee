"""The queue's file alone: adding to it, withdrawing, and what became of its requests. No torch."""

from __future__ import annotations

from excise.requests.queue import QueueAddRequest, QueueStatusRequest, QueueWithdrawRequest, planned
from excise.requests.removal_plan import Outlook, outlook
from excise.requests.removals import Queue
from excise.requests.request import function


def write(request: QueueAddRequest | QueueWithdrawRequest) -> Queue:
    """Carry out a request that was checked; the file is read once more, now that nobody else writes it."""
    found = request.asked()
    found.write()
    return found


def status(request: QueueStatusRequest) -> list[Outlook]:
    """Carry out a request that was checked."""
    ledger, steps = planned(request.asked)
    return outlook(request.asked, ledger, steps)


add_removal = function(QueueAddRequest, write)
withdraw_removal = function(QueueWithdrawRequest, write)
