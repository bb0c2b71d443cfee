"""`excise evaluate`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.evaluate import EvaluateRequest

EXAMPLES = """
  excise evaluate --edit out/cat --json cat.json

  excise evaluate --concept cat --edit out/cat --quality --real pictures --downstream sr"""


def evaluate(request: EvaluateRequest) -> None:
    """Measure, and print the figures."""
    from excise.jobs.evaluate import run

    with screen.progress() as progress:
        found = run(request, progress)
    screen.measured(found)


COMMAND = Command("evaluate", EvaluateRequest, evaluate, EXAMPLES)
