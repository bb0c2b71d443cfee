"""`excise report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  excise report out/bench

  excise report out --out cat.html"""


def add_to(app: typer.Typer) -> None:
    app.command("report", epilog=EPILOG)(report)


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a bench, erasure, audit or measurement, or of several.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The page; default report.html in the folder.")] = None,
) -> None:
    """Build one self-contained page from a folder's files: tables, pictures, figures, settings."""
    from excise.jobs.report import report as run

    print(run(folder, out=out))
