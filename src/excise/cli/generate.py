"""`excise generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise generate 'a picture of a cat' --edit out/cat --out cat.png

  excise generate 'a dog in sketch style' 'a bird' -n 8 --seed 100 --out pictures"""


def add_to(app: typer.Typer) -> None:
    app.command("generate", epilog=EPILOG)(generate)


def generate(
    prompts: Annotated[list[str], typer.Argument(help="What the pictures should show.")],
    out: Annotated[Path, typer.Option("--out", help="A .png file (a grid, a row per prompt) or a folder (a file each).")],
    edit: options.Edits = None,
    scale: options.Scale = 1.0,
    model: options.Model = "canvas",
    n: Annotated[int, typer.Option("-n", "--n", help="Pictures per prompt.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of each prompt's first picture; the next ones count up.")] = 0,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of the sampler; default the model's.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Classifier-free guidance scale, 1 or less = off; default the model's.")
    ] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Make pictures with a model, with or without edits."""
    from excise.jobs.generate import generate as run

    with screen.progress() as progress:
        files = run(
            prompts, out=out, edit=edit or (), scale=scale, model=model, n=n, seed=seed, steps=steps, guidance=guidance,
            overwrite=overwrite, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    print("\n".join(map(str, files)))
