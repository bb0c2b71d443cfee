"""`excise vary`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excise.cli import options, screen

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
    rows = [
        [row["group"], row["name"], *(_share(row[who]) for who in ("base", "edited", "neutral"))]
        for row in result["conditions"]
    ]
    screen.table(("asked by", "", "base", "edited", "neutral"), rows, title=f"pictures that show {result['concept']}")
    print(f"per cent, 95 % intervals in brackets; {pictures} pictures each; neutral: the base model without the words")


def _share(told: dict[str, Any]) -> str:
    low, high = told["ci"]
    return f"{100 * told['value']:.1f} ({100 * low:.0f}–{100 * high:.0f})"
