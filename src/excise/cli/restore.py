"""`excise restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise erase cat dog --method sepme --out out/pets

  excise restore out/pets --concept cat --out out/dog"""


def add_to(app: typer.Typer) -> None:
    app.command("restore", epilog=EPILOG)(restore)


def restore(
    edit: Annotated[Path, typer.Argument(help="Folder of a separable edit, or of several edits put together.")],
    concept: Annotated[list[str], typer.Option("--concept", help="What is given back; may be given several times.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the edit of what stays erased.")],
    overwrite: options.Overwrite = False,
) -> None:
    """Give erased concepts back: write the edit of the others, which does to them what it did, bit for bit."""
    from excise.jobs.restore import restore as run

    screen.quiet_hosts()
    left = run(edit, concept=concept, out=out, overwrite=overwrite)
    print(f"given back: {', '.join(concept)}; still erased: {', '.join(left.manifest.names)}: {out}")
