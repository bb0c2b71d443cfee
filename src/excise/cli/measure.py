"""`excise measure`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.measure import MeasureRequest

EXAMPLES = """
  excise measure --edit out/cat --figure cat.png

  excise measure cat --model ./erased-elsewhere --base canvas --json cat.json"""


def measure(request: MeasureRequest) -> None:
    """Measure, and print the nats."""
    from excise.jobs.measure import run

    with screen.progress() as progress:
        found = run(request, progress)
    screen.information(found)


COMMAND = Command("measure", MeasureRequest, measure, EXAMPLES)
