"""`excise restore`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.restore import RestoreRequest

EXAMPLES = """
  excise erase cat dog --method sepme --out out/pets

  excise restore out/pets --concept cat --out out/dog"""


def restore(request: RestoreRequest) -> None:
    """Write the edit that is left, and say what is given back."""
    from excise.jobs.restore import run

    left = run(request)
    screen.say(f"given back: {', '.join(request.concept)}; still erased: {', '.join(left.manifest.names)}: {request.out}")


COMMAND = Command("restore", RestoreRequest, restore, EXAMPLES)
