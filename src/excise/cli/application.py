"""All commands of the command line. No logic lives here, and nothing heavy is imported before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from excise.cli import (
    apply,
    audit,
    bench,
    canvas,
    convert,
    diff,
    distill,
    erase,
    evaluate,
    export,
    generate,
    measure,
    prune,
    queue,
    report,
    restore,
    show,
    suite,
    upscale,
    vary,
)
from excise.cli.errors import CommandGroup

app = typer.Typer(
    name="excise",
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Examples:\n\n  excise erase cat --out out/cat\n\n  excise generate 'a picture of a cat' --edit out/cat --out cat.png",
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Remove a concept from a text-to-image diffusion model, measure that it is gone, and leave everything else as it was."""


for command in (
    erase.COMMAND,
    generate.COMMAND,
    evaluate.COMMAND,
    vary.COMMAND,
    measure.COMMAND,
    diff.COMMAND,
    audit.COMMAND,
    bench.COMMAND,
    report.COMMAND,
    show.LIST,
    show.INFO,
    apply.COMMAND,
    export.COMMAND,
    restore.COMMAND,
    prune.COMMAND,
    distill.COMMAND,
    upscale.COMMAND,
    convert.COMMAND,
):
    command.add_to(app)
app.add_typer(queue.app, name="queue")
app.add_typer(suite.app, name="suite")
app.add_typer(canvas.app, name="canvas")
