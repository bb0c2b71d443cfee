"""What README shows: a table of five methods, and a picture of before and after (`make first-page`).

    python benchmarks/first_page.py                                                    # the table, from committed cells
    python benchmarks/first_page.py --edit out/cat --picture docs/first_page.png       # the picture, from edits

A row of the table is the mean over the erasures of a method in docs/benchmark/subset, of MiM-MU over those of the same concepts in
docs/benchmark/solver, which has today's defaults. Seconds are of one erasure in docs/benchmark/timed, whose cells were all made on one machine.
The picture has two rows for every edit, those of its own base model above those with the edit, so another canvas is added by naming an edit of
it. What the picture shows is written into it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from excise.results.cell import Cell
from markdown_table import markdown
from table import figures_of, read

ROOT = Path(__file__).resolve().parents[1]
CELLS, OWN, TIMED = (ROOT / "docs" / "benchmark" / name for name in ("subset", "solver", "timed"))

METHODS: Mapping[str, str] = {
    "mim": "**MiM-MU**", "uce:preserve=catalog": "UCE, told what to keep", "esd": "ESD", "spm": "SPM", "salun": "SalUn",
}  # fmt: skip
"""What README calls the methods that it shows, by their names in a grid."""

ABOUT = "excise"
"""The key of the picture's text that says what it shows, as JSON."""


def table(cells: Sequence[Cell], timed: Sequence[Cell]) -> list[str]:
    """Lines of Markdown: a row a method, means over its cells. Raises ValueError where methods cannot be compared."""
    own = {name: [cell for cell in cells if cell.entrant == name] for name in METHODS}
    if len({frozenset(cell.concepts for cell in found) for found in own.values()}) > 1:
        raise ValueError("not all methods erased the same concepts")
    clocks = {cell.entrant: cell for cell in timed if cell.entrant in METHODS}
    if len({(cell.machine, cell.threads, cell.jobs) for cell in clocks.values()}) > 1:
        raise ValueError("not all methods were timed on one machine")
    rows = [[title, *_figures(own[name]), f"{clocks[name].seconds:.1f}"] for name, title in METHODS.items()]
    perfect = 100 * fmean(1 - figures_of(cell)("neutral") for cell in own["mim"])
    return markdown(("method", f"erased, % (best: {perfect:.1f})", "kept, % (worst)", "nats left, %", "seconds"), rows)


def with_own(cells: Sequence[Cell], own: Sequence[Cell]) -> list[Cell]:
    """The cells, with those of `own` in the place of MiM-MU's, of the concepts that the others erased."""
    others = [cell for cell in cells if cell.entrant != "mim"]
    concepts = {cell.concepts for cell in others}
    return others + [cell for cell in own if cell.entrant == "mim" and cell.concepts in concepts]


def _figures(cells: Sequence[Cell]) -> list[str]:
    figures = [figures_of(cell) for cell in cells]
    kept = fmean(figure(key) for figure in figures for key in ("ira_of_base", "cra_of_base"))
    worst = min(figure(key) for figure in figures for key in ("ira_worst", "cra_worst"))
    return [
        f"{100 * fmean(figure('ua') for figure in figures):.1f}",
        f"{100 * kept:.1f} ({100 * worst:.0f})",
        f"{100 * fmean(figure('nats_share_left') for figure in figures):.1f}",
    ]


def picture(folders: Sequence[Path]) -> tuple[Image.Image, list[dict[str, object]]]:
    """The pictures of before and after of these edits, one below the other, and what each shows."""
    from excise import load, load_edit
    from excise.progress import silent
    from excise.report import before_after

    sheets, about = [], []
    for folder in folders:
        edit = load_edit(folder)
        manifest = edit.manifest
        model = load(manifest.model)
        targets = [model.catalog.recorded(concept) for concept in manifest.concepts]
        sheets.append(before_after.sheet(model, edit, targets, manifest.seed, silent))
        about.append({"model": manifest.model, "base": manifest.base, "concepts": manifest.names, "method": manifest.method} | {
            "seed": manifest.seed, "settings": manifest.settings,
        })  # fmt: skip
    return stacked(sheets), about


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other, on white."""
    whole = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), "white")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def save(whole: Image.Image, about: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write the picture with what it shows."""
    text = PngInfo()
    text.add_text(ABOUT, json.dumps(about))
    whole.save(path, format="PNG", pnginfo=text, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--edit", type=Path, action="append", default=[], metavar="FOLDER", help="an edit; several are shown below each other"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the picture to write; without it the table is printed")
    options = parser.parse_args()
    if bool(options.edit) != bool(options.picture):
        parser.error("a picture is made of edits: give --edit and --picture, or neither for the table")
    if options.picture:
        save(*picture(options.edit), options.picture)
        return
    try:
        print("\n".join(table(with_own(read(CELLS), read(OWN)), read(TIMED))))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
