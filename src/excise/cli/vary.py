"""`excise vary`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen
from excise.report import variation_table

EPILOG = """Examples:

  excise vary out/cat

  excise vary out/cat --pictures 200 --json cat-asked-otherwise.json"""


def add_to(app: typer.Typer) -> None:
    app.command("vary", epilog=EPILOG)(vary)


def vary(
    edit: Annotated[list[Path], typer.Argument(help="Folders of edits, measured together.")],
    model: options.Model = "canvas",
    concept: Annotated[str | None, typer.Option("--concept", help="What was erased; default what the edits say.")] = None,
    kind: options.Kind = None,
    pictures: Annotated[int, typer.Option("--pictures", help="Pictures of each condition and model.")] = 64,
    seed: options.Seed = 0,
    json: options.Json = None,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Ask for an erased concept otherwise: in other words, guidance, steps, samplers, and from its pictures."""
    from excise.jobs.vary import vary as run

    with screen.progress() as progress:
        result = run(
            edit, model=model, concept=concept, kind=kind, pictures=pictures, seed=seed, json=json, overwrite=overwrite,
            device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    screen.table(variation_table.COLUMNS, variation_table.table(result), title=result["concept"])
    for line in (*variation_table.lines(result), variation_table.NOTE):
        print(line)
