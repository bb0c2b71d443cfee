"""`excise apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise apply out/cat --to models/canvas-without-cat

  excise apply out/cat out/dog --model ./sd15 --dtype float16 --to ./sd15-without"""


def add_to(app: typer.Typer) -> None:
    app.command("apply", epilog=EPILOG)(apply)


def apply(
    edit: Annotated[list[Path], typer.Argument(help="Folders of the edits to put on, in order.")],
    to: Annotated[Path, typer.Option("--to", help="Folder for the edited model.")],
    model: options.Model = "canvas",
    scale: options.Scale = 1.0,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Write a full diffusers folder: the base model with edits in it."""
    from excise.jobs.apply import apply as run

    screen.quiet_hosts()
    print(run(edit, to=to, model=model, scale=scale, overwrite=overwrite, device=device, dtype=dtype))
