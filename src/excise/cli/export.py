"""`excise export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise export out/cat --to cat.safetensors

  excise export out/cat out/sketch --rank 16 --to without.safetensors"""


def add_to(app: typer.Typer) -> None:
    app.command("export", epilog=EPILOG)(export)


def export(
    edit: Annotated[list[Path], typer.Argument(help="Folders of edits of one base; they are added up.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write, .safetensors.")],
    rank: Annotated[
        int | None, typer.Option("--rank", help="Largest rank; default as many as lose nothing but rounding.")
    ] = None,
    scale: options.Scale = 1.0,
    overwrite: options.Overwrite = False,
) -> None:
    """Write edits as a LoRA file, which diffusers and the common user interfaces load."""
    from excise.jobs.export import export as run

    screen.quiet_hosts()
    found = run(edit, to=to, rank=rank, scale=scale, overwrite=overwrite)
    ranks = found.ranks.values()
    lost = f"{100 * found.error:.2g} % of the change left out" if found.error else "nothing left out but rounding"
    print(f"{to}: {len(ranks)} weights, rank {min(ranks)} to {max(ranks)}, {lost}")
    print("it fits the base model of the edit alone, and whatever loads it will not check that")
