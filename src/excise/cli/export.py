"""`excise export`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.export import ExportRequest

EXAMPLES = """
  excise export out/cat --to cat.safetensors

  excise export out/cat out/sketch --rank 16 --to without.safetensors"""


def export(request: ExportRequest) -> None:
    """Write the file, and say what is in it."""
    from excise.jobs.export import run

    found = run(request)
    ranks = found.ranks.values()
    lost = f"{100 * found.error:.2g} % of the change left out" if found.error else "nothing left out but rounding"
    screen.say(f"{request.to}: {len(ranks)} weights, rank {min(ranks)} to {max(ranks)}, {found.dialect} names, {lost}")
    screen.say("it fits the base model of the edit alone, and whatever loads it will not check that")


COMMAND = Command("export", ExportRequest, export, EXAMPLES)
