"""Options that several commands have; the Python functions in `excise.jobs` have the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Option("--model", help="Built-in name, diffusers folder, .safetensors checkpoint or hub id (owner/name).")
]
Edits = Annotated[list[Path] | None, typer.Option("--edit", help="Folder of an edit; may be given several times.")]
Scale = Annotated[float, typer.Option("--scale", help="Strength of the edits: 0 is the base model, 1 as trained.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps, ...; default the best there is.")]
Dtype = Annotated[
    str, typer.Option("--dtype", help="float32, float16, bfloat16, or mixed: float32 weights, bfloat16 arithmetic.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the measured numbers to this file.")]
Kind = Annotated[str | None, typer.Option("--kind", help="What the concept is: object, member, style, identity or unsafe.")]
