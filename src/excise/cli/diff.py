"""`excise diff`."""

from __future__ import annotations

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.diff import DiffRequest

EXAMPLES = """
  excise diff canvas ./erased-elsewhere --out out/elsewhere

  excise diff ./sd15 ./esd-vangogh.safetensors --concept 'style:van gogh' --out out/esd-vangogh"""


def diff(request: DiffRequest) -> None:
    """Write the edit, and say how large it is."""
    from excise.jobs.diff import run

    with screen.progress() as progress:
        edit = run(request, progress)
    screen.say(f"{request.out}: {len(edit.deltas)} tensors changed, {edit.nbytes / 2**20:.2f} MiB")


COMMAND = Command("diff", DiffRequest, diff, EXAMPLES)
