"""`excise convert`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.jobs.convert import run
from excise.requests.convert import ConvertRequest

EXAMPLES = """
  excise convert out

  excise convert out/cat/result.json old/bench

  excise convert out/bench --pack"""


def convert(request: ConvertRequest) -> None:
    """Convert, and say how many files of each kind there were."""
    counts = run(request)
    for name, count in counts.items():
        screen.say(f"{count} {name}")
    if not counts:
        screen.say(f"nothing to convert{' or to pack' * request.pack}: no file of an earlier version is there")


COMMAND = Command("convert", ConvertRequest, convert, EXAMPLES)
