"""`excise measure` and `excise diff`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

MEASURE_EPILOG = """Examples:

  excise measure --edit out/cat --figure cat.png

  excise measure cat --model ./erased-elsewhere --base canvas --json cat.json"""

DIFF_EPILOG = """Examples:

  excise diff canvas ./erased-elsewhere --out out/elsewhere

  excise diff ./sd15 ./esd-vangogh.safetensors --concept 'style:van gogh' --out out/esd-vangogh"""


class Phrasings(StrEnum):
    """Which prompts are asked."""

    plain = "plain"
    all = "all"


def add_to(app: typer.Typer) -> None:
    app.command("measure", epilog=MEASURE_EPILOG)(measure)
    app.command("diff", epilog=DIFF_EPILOG)(diff)


def measure(
    concepts: Annotated[
        list[str] | None, typer.Argument(metavar="CONCEPT...", help="What to measure; default what the edits erase.")
    ] = None,
    edit: options.Edits = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            help="Another concept to watch, or 'none'; default every declared object and style, with --edit or --base.",
        ),
    ] = None,
    model: options.Model = "canvas",
    base: Annotated[str | None, typer.Option("--base", help="What --model was made from, if it was erased elsewhere.")] = None,
    kind: options.Kind = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder of real pictures, CONCEPT/*.png; default the base makes them.")
    ] = None,
    phrasings: Annotated[
        Phrasings, typer.Option("--phrasings", help="Plain prompts, or all templates, synonyms and members.")
    ] = Phrasings.plain,
    budget: Annotated[
        int, typer.Option("--budget", help="Network evaluations: four times as many halve the intervals.")
    ] = 16_000,
    seed: options.Seed = 0,
    json: options.Json = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Write heat maps beside pictures (.png, .svg).")] = None,
    curves: Annotated[Path | None, typer.Option("--curves", help="Write nats by noise level (.png, .svg).")] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Measure how much a concept's words still say about pictures, in nats, and what other concepts lost."""
    from excise.jobs.measure import measure as run

    with screen.progress() as progress:
        found = run(
            concepts or (), edit=edit or (), against=against, model=model, base=base, kind=kind, pictures=pictures,
            phrasings=phrasings.value, budget=budget, seed=seed, json=json, figure=figure, curves=curves,
            overwrite=overwrite, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    screen.information(found.to_dict())


def diff(
    base: Annotated[str, typer.Argument(help="The model that the erased one was made from.")],
    erased: Annotated[str, typer.Argument(help="The erased model, or a .safetensors file with some of its U-Net's tensors.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the edit.")],
    concept: Annotated[list[str] | None, typer.Option("--concept", help="What was erased, if it is known.")] = None,
    kind: options.Kind = None,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Import a model that was erased elsewhere as an edit of its base."""
    from excise.jobs.measure import diff as run

    with screen.progress() as progress:
        edit = run(
            base, erased, out=out, concept=concept or (), kind=kind, overwrite=overwrite,
            device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    print(f"{out}: {len(edit.deltas)} tensors changed, {edit.nbytes / 2**20:.2f} MiB")
