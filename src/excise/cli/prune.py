"""`excise prune`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.prune import PruneRequest

EXAMPLES = """
  excise prune canvas --keep 0.6 --out models/student

  excise prune ./stable-diffusion-v1-5 --keep 0.67 --dtype float16 --out models/small-sd"""


def prune(request: PruneRequest) -> None:
    """Write the smaller model, and print what went."""
    from excise.jobs.prune import run

    found = run(request).pruning
    assert found is not None
    for removed in found.removed:
        screen.say(f"taken out: {removed}")
    screen.say(
        f"{found.parameters:,} of {found.parameters_before:,} parameters are left ({100 * found.share:.1f} %): {request.out}"
    )


COMMAND = Command("prune", PruneRequest, prune, EXAMPLES)
