"""`excise queue`: removal requests that come and go."""

from __future__ import annotations

from inspect import cleandoc

import typer

from excise.cli import screen
from excise.cli.command import Command
from excise.cli.errors import CommandGroup
from excise.report import erosion_table
from excise.requests.queue import (
    RESULT,
    QueueAddRequest,
    QueueExportRequest,
    QueueRunRequest,
    QueueStatusRequest,
    QueueWithdrawRequest,
    planned,
)
from excise.requests.removal_plan import behind

EXAMPLES = """
  excise queue add removals.yaml cat style:sketch --reason 'rights holder, 17 March'

  excise queue run removals.yaml

  excise queue withdraw removals.yaml cat

  excise queue status removals.yaml"""

RUN_EXAMPLES = """
  excise queue run removals.yaml

  excise queue run removals.yaml --target-pictures 400"""

EXPORT_EXAMPLES = """
  excise queue export removals.yaml --to out/removals

  excise queue export removals.yaml --to removals.safetensors"""

COLUMNS = ("", "request", "state", "asked on", "method", "in the result", "the next run")

app = typer.Typer(
    cls=CommandGroup,
    help="Removal requests that come and go: a file that you keep, and one edit that serves it.",
    rich_markup_mode="rich",
    epilog=f"Examples:\n\n{cleandoc(EXAMPLES)}",
)


def add(request: QueueAddRequest) -> None:
    """Add, and print what the queue asks for now."""
    from excise.jobs.queue_file import write

    asked = write(request).wanted
    screen.say(
        f"{request.queue} asks to erase {', '.join(entry.label for entry in asked)}; serve it: excise queue run {request.queue}"
    )


def withdraw(request: QueueWithdrawRequest) -> None:
    """Withdraw, and print what the next run gives back, and how."""
    from excise.jobs.queue_file import write
    from excise.requests.removal_plan import outlook

    queue = write(request)
    ledger, steps = planned(queue)
    for each in outlook(queue, ledger, steps):
        if not each.entry.wanted and each.next:
            screen.say(f"{each.entry.label} is withdrawn; the next run {each.next}")
        elif not each.entry.wanted and each.now == "not erased":
            screen.say(f"{each.entry.label} is withdrawn; it was not erased yet")


def run(request: QueueRunRequest) -> None:
    """Serve, and print the curve."""
    from excise.jobs.queue import run as job

    with screen.progress() as progress:
        ledger = job(request, progress)
    if ledger.points:
        screen.table(erosion_table.COLUMNS, erosion_table.table(ledger.points))
        screen.say(erosion_table.NOTE)
    screen.say(*erosion_table.lines(ledger))
    screen.say(request.out / RESULT if ledger.steps else f"nothing is erased: use {ledger.model} as it is")


def status(request: QueueStatusRequest) -> None:
    """Print a line for every request."""
    from excise.jobs.queue_file import status as job

    ledger, steps = planned(request.asked)
    rows = [
        (str(each.entry.number), each.entry.label, each.entry.removal.state, str(each.entry.removal.date or ""),
         each.entry.method.name, each.now, each.next)
        for each in job(request)
    ]  # fmt: skip
    screen.table(COLUMNS, rows, f"{request.queue}, {request.asked.content.strategy}")
    if behind(ledger, steps):
        screen.say(f"the result is not what the file asks for; serve it: excise queue run {request.queue}")
    else:
        screen.say(f"the result is what the file asks for: {request.asked.out / RESULT if steps else 'nothing is erased'}")


def export(request: QueueExportRequest) -> None:
    """Write, and print where it is."""
    from excise.jobs.queue import export as job

    screen.say(job(request))


Command("add", QueueAddRequest, add, EXAMPLES).add_to(app)
Command("withdraw", QueueWithdrawRequest, withdraw, EXAMPLES).add_to(app)
Command("run", QueueRunRequest, run, RUN_EXAMPLES).add_to(app)
Command("status", QueueStatusRequest, status, EXAMPLES, looks=True).add_to(app)
Command("export", QueueExportRequest, export, EXPORT_EXAMPLES).add_to(app)
