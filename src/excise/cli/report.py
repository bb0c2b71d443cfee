"""`excise report`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.jobs.report import run
from excise.requests.report import ReportRequest

EXAMPLES = """
  excise report out/bench

  excise report out --out cat.html"""


def report(request: ReportRequest) -> None:
    """Write the page, and print where it is."""
    screen.say(run(request))


COMMAND = Command("report", ReportRequest, report, EXAMPLES)
