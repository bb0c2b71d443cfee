"""`excise apply`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.apply import ApplyRequest

EXAMPLES = """
  excise apply out/cat --to models/canvas-without-cat

  excise apply out/cat out/dog --model ./sdxl --dtype float16 --to without.safetensors"""


def apply(request: ApplyRequest) -> None:
    """Write the model, and print where it is."""
    from excise.jobs.apply import run

    screen.say(run(request))


COMMAND = Command("apply", ApplyRequest, apply, EXAMPLES)
