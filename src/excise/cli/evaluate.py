"""`excise evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise evaluate --edit out/cat --json cat.json

  excise evaluate --concept cat --edit out/cat --quality --real pictures"""


def add_to(app: typer.Typer) -> None:
    app.command("evaluate", epilog=EPILOG)(evaluate)


def evaluate(
    edit: options.Edits = None,
    model: options.Model = "canvas",
    concept: Annotated[list[str] | None, typer.Option("--concept", help="What was erased; default what the edits say.")] = None,
    kind: options.Kind = None,
    seed: options.Seed = 0,
    target_pictures: Annotated[int, typer.Option("--target-pictures", help="Pictures of each erased concept.")] = 200,
    other_pictures: Annotated[int, typer.Option("--other-pictures", help="Pictures of each other concept.")] = 24,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also how much the pictures of what is kept have changed.")
    ] = False,
    features: Annotated[
        str, typer.Option("--features", help="What FID and KID are measured on: classifier, inception or clip.")
    ] = "classifier",
    real: Annotated[Path | None, typer.Option("--real", help="Folder of real pictures to compare with as well.")] = None,
    inception: Annotated[
        Path | None, typer.Option("--inception", help="Weights of Inception-v3 (torch-fidelity's file).")
    ] = None,
    clip: Annotated[Path | None, typer.Option("--clip", help="Folder of a CLIP model, for the CLIP score.")] = None,
    lpips: Annotated[Path | None, typer.Option("--lpips", help="Weights of AlexNet (torchvision's file), for LPIPS.")] = None,
    json: options.Json = None,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Measure a model: UA, IRA, CRA and the neutral rate, base beside edited."""
    from excise.jobs.evaluate import evaluate as run

    with screen.progress() as progress:
        evaluation = run(
            edit=edit or (), model=model, concept=concept or (), kind=kind, seed=seed, target_pictures=target_pictures,
            other_pictures=other_pictures, quality=quality, features=features, real=real, inception=inception, clip=clip,
            lpips=lpips, json=json, overwrite=overwrite, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    screen.measured(evaluation.to_dict())
