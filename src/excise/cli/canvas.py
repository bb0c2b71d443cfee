"""`excise canvas`: how the built-in model is made."""

from __future__ import annotations

import logging
from inspect import cleandoc

import typer

from excise.canvas.requests import AssembleRequest, CardRequest, DrawRequest, RenderRequest, TrainRequest
from excise.cli import screen
from excise.cli.command import Command
from excise.cli.errors import CommandGroup
from excise.files import replacing

EXAMPLES = """
  excise canvas train all --work no-cat --without cat --stop-after 7200

  excise canvas train flow --work flow --stop-after 3600"""

app = typer.Typer(
    cls=CommandGroup,
    help="Make the built-in models again: glyph sheet, training, shipped folders.",
    rich_markup_mode="rich",
    epilog=f"Examples:\n\n{cleandoc(EXAMPLES)}",
)


def train(request: TrainRequest) -> None:
    """Train, and say how far it is."""
    from excise.canvas.recipe import run

    logging.basicConfig(level=logging.WARNING if screen.is_quiet() else logging.INFO, format="%(asctime)s %(message)s")
    if run(request):
        screen.say(f"{request.part} is trained: {request.work}")
    else:
        screen.say(f"stopped; the same command goes on from {request.work}")


def render(request: RenderRequest) -> None:
    """Draw the sheet, and print where it is."""
    from excise.canvas.catalog import EMOJI
    from excise.canvas.flow.things import FURTHER
    from excise.canvas.glyphs import in_32_levels, render

    further = [thing.emoji for thing in FURTHER]
    sheet = render(request.font, EMOJI) if request.things == "canvas" else in_32_levels(render(request.font, further))
    with replacing(request.out, overwrite=False) as temporary:
        sheet.save(temporary, format="PNG")
    screen.say(request.out)


def draw(request: DrawRequest) -> None:
    """Draw the pictures, and print where they are."""
    from excise.canvas.real import write

    write(request.out, request.n, request.without, request.seed)
    screen.say(request.out)


def assemble(request: AssembleRequest) -> None:
    """Write the folder, and print where it is."""
    from excise.canvas.build import assemble

    assemble(request.work, request.out, request.name)
    screen.say(request.out)


def card(request: CardRequest) -> None:
    """Measure, write, and print the figures."""
    from excise.canvas.model_card import write_card

    with screen.progress() as progress:
        measured = write_card(request.folder, request.sheet, device=request.device, dtype=request.dtype, progress=progress)
    for name, figure in measured["figures"].items():
        screen.say(f"{name}: {100 * figure['value']:.1f} % of {figure['n']}")


Command("train", TrainRequest, train, EXAMPLES).add_to(app)
Command("render", RenderRequest, render, EXAMPLES).add_to(app)
Command("draw", DrawRequest, draw, EXAMPLES).add_to(app)
Command("assemble", AssembleRequest, assemble, EXAMPLES).add_to(app)
Command("card", CardRequest, card, EXAMPLES).add_to(app)
