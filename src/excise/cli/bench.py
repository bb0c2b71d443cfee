"""`excise bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise bench --methods "mim uce" --concepts "cat style:sketch" --out out/bench

  excise bench --methods mim:target=exclude --concepts "objects styles" --out out/bench"""


def add_to(app: typer.Typer) -> None:
    app.command("bench", epilog=EPILOG)(bench)


def bench(
    methods: Annotated[list[str], typer.Option("--methods", help="Methods, with settings after a colon: mim:lr=1e-3.")],
    concepts: Annotated[list[str], typer.Option("--concepts", help="Concepts; objects, styles, members for all of a kind.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the grid: cells, results.csv, results.md, collateral.csv.")],
    model: options.Model = "canvas",
    seeds: Annotated[list[int] | None, typer.Option("--seeds", help="Seeds; default 0.")] = None,
    target_pictures: Annotated[int, typer.Option("--target-pictures", help="Pictures of each erased concept.")] = 200,
    other_pictures: Annotated[int, typer.Option("--other-pictures", help="Pictures of each other concept.")] = 24,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Also how much the kept concepts' pictures have changed.")
    ] = True,
    retry: Annotated[bool, typer.Option("--retry", help="Also run the cells that failed before.")] = False,
    device: options.Device = None,
) -> None:
    """Run a grid of erasures; each cell is a file, and a rerun does only what is missing."""
    from excise.jobs.bench import bench as run

    with screen.progress() as progress:
        run(
            methods=[name for text in methods for name in text.split()],
            concepts=[name.replace("_", " ") for text in concepts for name in text.split()],
            out=out, model=model, seeds=seeds or (0,), target_pictures=target_pictures, other_pictures=other_pictures,
            quality=quality, retry=retry, device=device, progress=progress,
        )  # fmt: skip
    typer.echo((out / "results.md").read_text(encoding="utf-8"))
