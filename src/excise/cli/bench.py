"""`excise bench`."""

from __future__ import annotations

import typer

from excise.cli import screen
from excise.cli.command import Command
from excise.requests.bench import BenchRequest

EXAMPLES = """
  excise bench --methods "mim uce" --concepts "cat style:sketch" --out out/bench

  excise bench --methods mim:target=exclude --concepts "objects styles" --out out/bench

  excise bench --suite unlearncanvas --model ./uc-sd15 --methods "mim esd" --concepts "style:Van_Gogh object:Dogs"
  --weights uc_style=style50.pth --weights uc_object=style50_cls.pth --out out/uc"""


def bench(request: BenchRequest) -> None:
    """Run the grid, print its table, and say which cells failed."""
    from excise.jobs.bench import run

    with screen.progress() as progress:
        cells = run(request, progress)
    screen.say(*(request.out / "results.md").read_text(encoding="utf-8").split("\n"))
    if failed := [cell for cell in cells if cell.error]:
        for cell in failed:
            screen.tell(f"excise: {cell.about}: {' '.join((cell.error or '').split())}")
        screen.tell(f"excise: error: {len(failed)} of {len(cells)} cells failed; --retry runs them again")
        raise typer.Exit(1)


COMMAND = Command("bench", BenchRequest, bench, EXAMPLES)
