"""`excise audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise audit out/cat

  excise audit out/cat --attacks all --gold ./canvas-without-cat --out out/cat-audit

  excise audit --model ./erased-elsewhere --base canvas --concept cat --attacks "guidance revam" """


def add_to(app: typer.Typer) -> None:
    app.command("audit", epilog=EPILOG)(audit)


def audit(
    edits: Annotated[list[Path] | None, typer.Argument(metavar="EDIT...", help="Folders of edits, audited together.")] = None,
    model: options.Model = "canvas",
    base: Annotated[str | None, typer.Option("--base", help="What --model was made from, if it was erased elsewhere.")] = None,
    gold: Annotated[str | None, typer.Option("--gold", help="A model that never saw the concept: the second control.")] = None,
    concept: Annotated[str | None, typer.Option("--concept", help="What was erased; default what the edits say.")] = None,
    kind: options.Kind = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attacks", help="quick, all, or names, with settings after a colon: p4d:preset=published."),
    ] = None,
    budget: Annotated[int | None, typer.Option("--budget", help="U-Net calls of every attack on every model.")] = None,
    prompts: Annotated[int, typer.Option("--prompts", help="Prompts that are attacked, each with its own seed.")] = 24,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the results; default EDIT-audit.")] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Try to bring an erased concept back, beside the same attacks on controls. Stopped, the same command goes on."""
    from excise.jobs.audit import audit as run
    from excise.report import audit_table as words

    with screen.progress() as progress:
        found = run(
            edits or (), model=model, base=base, gold=gold, concept=concept, kind=kind,
            attacks=[name for text in attacks or ["quick"] for name in text.split()], budget=budget, prompts=prompts, out=out,
            seed=seed, overwrite=overwrite, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    screen.table(words.COLUMNS, words.table(found.to_dict()))
    for line in words.lines(found.to_dict()):
        print(line)
    print(f"all numbers: {found.out}/audit.json; pictures and what was found: {found.out}/attacks")
