"""`excise generate`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.generate import GenerateRequest

EXAMPLES = """
  excise generate 'a picture of a cat' --edit out/cat --out cat.png

  excise generate 'a dog in sketch style' 'a bird' -n 8 --seed 100 --out pictures"""


def generate(request: GenerateRequest) -> None:
    """Make the pictures, and print their files."""
    from excise.jobs.generate import run

    with screen.progress() as progress:
        files = run(request, progress)
    screen.say(*files)


COMMAND = Command("generate", GenerateRequest, generate, EXAMPLES)
