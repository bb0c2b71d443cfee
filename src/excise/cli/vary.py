"""`excise vary`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.report import variation_table
from excise.requests.vary import VaryRequest

EXAMPLES = """
  excise vary out/cat

  excise vary out/cat --pictures 200 --json cat-asked-otherwise.json"""


def vary(request: VaryRequest) -> None:
    """Ask, and print what was shown."""
    from excise.jobs.vary import run

    with screen.progress() as progress:
        result = run(request, progress)
    screen.table(variation_table.COLUMNS, variation_table.table(result), title=result.concept)
    for line in (*variation_table.lines(result), variation_table.NOTE):
        screen.say(line)


COMMAND = Command("vary", VaryRequest, vary, EXAMPLES)
