"""`excise bench`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise bench --methods "mim uce" --concepts "cat style:sketch" --out out/bench

  excise bench --methods mim:target=exclude --concepts "objects styles" --out out/bench

  excise bench --suite unlearncanvas --model ./uc-sd15 --methods "mim esd" --concepts "style:Van_Gogh object:Dogs"
  --weights uc_style=style50.pth --weights uc_object=style50_cls.pth --out out/uc"""


class Runner(StrEnum):
    """Where the processes of a grid are."""

    local = "local"
    ray = "ray"


def add_to(app: typer.Typer) -> None:
    app.command("bench", epilog=EPILOG)(bench)


def bench(
    methods: Annotated[list[str], typer.Option("--methods", help="Methods, with settings after a colon: mim:lr=1e-3.")],
    concepts: Annotated[
        list[str],
        typer.Option(
            "--concepts", help="Concepts: cat, cat+dog (together), cat>dog (in turn); objects, styles, members for each."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the grid: cells, results.csv, results.md, collateral.csv, report.html.")
    ],
    model: options.Model = "canvas",
    seeds: Annotated[list[int] | None, typer.Option("--seeds", help="Seeds; default 0.")] = None,
    target_pictures: Annotated[int, typer.Option("--target-pictures", help="Pictures of each erased concept.")] = 200,
    other_pictures: Annotated[int, typer.Option("--other-pictures", help="Pictures of each other concept.")] = 24,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Also how much the kept concepts' pictures have changed.")
    ] = True,
    information: Annotated[
        bool, typer.Option("--information/--no-information", help="Also how many nats the words still carry.")
    ] = True,
    budget: Annotated[int, typer.Option("--budget", help="Network evaluations for that, in each cell.")] = 8_000,
    gold: Annotated[
        list[str] | None,
        typer.Option(
            "--gold", help="CONCEPT=MODEL: a model that was trained without it, as a row and to measure distances to."
        ),
    ] = None,
    suite: Annotated[
        str,
        typer.Option("--suite", help="canvas: the model's own concepts and classifier; or a published one: excise suite list."),
    ] = "canvas",
    suite_settings: Annotated[
        list[str] | None, typer.Option("--suite-set", help="Setting of the suite, key=value; its target is each concept.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="Weights that the suite scores with, NAME=PATH.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Also run the cells that failed before.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", help="Processes that share the cells, each with its own copy of the model.")
    ] = 1,
    runner: Annotated[Runner, typer.Option("--runner", help="Where they run: here, or on a Ray cluster.")] = Runner.local,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Run a grid of erasures; each cell is a file, and a rerun does only what is missing."""
    from excise.jobs.bench import bench as run
    from excise.report.method_table import concept_of
    from excise.settings import parse_assignments

    with screen.progress() as progress:
        cells = run(
            methods=[name for text in methods for name in text.split()],
            concepts=[name.replace("_", " ") for text in concepts for name in text.split()],
            out=out, model=model, seeds=seeds or (0,), target_pictures=target_pictures, other_pictures=other_pictures,
            quality=quality, information=information, budget=budget, gold=_pairs(gold or ()), suite=suite,
            suite_settings=parse_assignments(suite_settings or []), weights=parse_assignments(weights or []),
            retry=retry, jobs=jobs, runner=runner.value, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    typer.echo((out / "results.md").read_text(encoding="utf-8"))
    if failed := [cell for cell in cells if "error" in cell]:
        for cell in failed:
            why = " ".join(cell["error"].split())
            typer.echo(f"excise: {cell['entrant']} {concept_of(cell)}, seed {cell['seed']}: {why}", err=True)
        typer.echo(f"excise: error: {len(failed)} of {len(cells)} cells failed; --retry runs them again", err=True)
        raise typer.Exit(1)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """CONCEPT=MODEL, each. Raises ValueError for a text without the sign, or a concept named twice."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, model in pairs:
        if not (name and equals and model):
            raise ValueError(f"expected CONCEPT=MODEL for --gold, got {name + equals + model!r}")
    if len({name for name, *_ in pairs}) < len(pairs):
        raise ValueError("two gold standards for one concept")
    return {name.replace("_", " "): model for name, _, model in pairs}
