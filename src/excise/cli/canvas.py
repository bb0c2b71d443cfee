"""`excise canvas`: how the built-in model is made."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise canvas train all --work no-cat --without cat --stop-after 7200

  excise canvas assemble --work no-cat --out canvas-without-cat"""

app = typer.Typer(
    help="Make the built-in model again: glyph sheet, training, shipped folder.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EPILOG,
)
Work = Annotated[Path, typer.Option("--work", help="Folder for checkpoints and trained parts.")]


class Part(StrEnum):
    """What can be trained."""

    vae = "vae"
    classifier = "classifier"
    text = "text"
    diffusion = "diffusion"
    all = "all"


@app.command("train")
def train(
    part: Annotated[Part, typer.Argument(help="vae, classifier, text, diffusion or all, in this order")],
    work: Work,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Object, member or style that text encoder and U-Net never meet.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps; default the recipe's.")] = None,
    stop_after: Annotated[
        float | None, typer.Option("--stop-after", help="Seconds after which to write a checkpoint and stop.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda, mps, ...; the default makes the same weights to the bit on one machine.")
    ] = "cpu",
) -> None:
    """Train a part of the canvas; the same command goes on where it stopped."""
    import logging

    from excise.canvas import recipe

    screen.quiet_hosts()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    done = recipe.train(part.value, work, without=without or (), steps=steps, stop_after=stop_after, device=device)
    print(f"{part.value} is trained: {work}" if done else f"stopped; the same command goes on from {work}")


@app.command("render")
def render(
    font: Annotated[Path, typer.Option("--font", help="NotoColorEmoji.ttf")],
    out: Annotated[Path, typer.Option("--out", help="PNG file for the glyph sheet.")] = Path("glyphs.png"),
) -> None:
    """Draw the glyph sheet from the font."""
    from excise.canvas import glyphs
    from excise.files import replacing
    from excise.jobs.inputs import check_new_file

    check_new_file(out, overwrite=False)
    sheet = glyphs.render(font)
    with replacing(out) as temporary:
        sheet.save(temporary, format="PNG")
    print(out)


@app.command("draw")
def draw(
    out: Annotated[Path, typer.Option("--out", help="New folder for the pictures.")],
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Number of pictures.")] = 456,
    without: Annotated[list[str] | None, typer.Option("--without", help="Object, member or style that none may show.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
) -> None:
    """Draw real pictures of the canvas, to measure generated ones against: excise evaluate --real DIR."""
    from excise.canvas import real

    real.write(out, n, without or (), seed)
    print(out)


@app.command("assemble")
def assemble(
    work: Work,
    out: Annotated[Path, typer.Option("--out", help="Folder for the model.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What the model calls itself; default canvas, and what it never met.")
    ] = None,
) -> None:
    """Write the trained parts as one Stable Diffusion folder in half precision."""
    from excise.canvas import build

    screen.quiet_hosts()
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another folder")
    build.assemble(work, out, name)
    print(out)


@app.command("card")
def card(
    folder: Annotated[Path, typer.Option("--folder", help="The model's folder.")],
    sheet: Annotated[Path, typer.Option("--sheet", help="PNG file for the contact sheet.")] = Path("docs/canvas.png"),
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Measure a canvas model; write its card, its figures and a contact sheet of objects in styles."""
    from excise.canvas import model_card

    screen.quiet_hosts()
    with screen.progress() as progress:
        measured = model_card.write_card(folder, sheet, device=device, dtype=dtype, progress=progress)
    for name, figure in measured["figures"].items():
        print(f"{name}: {100 * figure['value']:.1f} % of {figure['n']}")
