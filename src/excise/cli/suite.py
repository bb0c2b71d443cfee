"""`excise suite`: published protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from excise.cli import options, screen

EPILOG = """Examples:

  excise suite list

  excise suite run unlearncanvas --set target=style:Van_Gogh --model ./uc-sd15 --edit out/van-gogh --out out/uc
  --weights uc_style=style50.pth --weights uc_object=style50_cls.pth"""

TABLE_EPILOG = """Examples:

  excise suite table out/uc-mim out/uc-esd

  excise suite table out/*/result.json"""

app = typer.Typer(
    help="Published protocols on your own prompts, models and classifiers.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EPILOG,
)


@app.command("list")
def list_() -> None:
    """List the suites, what each needs, and its settings."""
    from excise.evaluation.suites import suites
    from excise.evaluation.weights import KNOWN

    for suite in suites().values():
        rows = [(name, "setting", field.description or "") for name, field in suite.settings.model_fields.items()]
        rows += [
            (name, "weights", f"{KNOWN[name].purpose}: {KNOWN[name].file} of {KNOWN[name].address}") for name in suite.weights
        ]
        screen.table(("name", "", ""), rows, f"{suite.name}: {suite.title} ({suite.source})")
        print(f"you supply: {suite.files}\n")


@app.command("run", epilog=EPILOG)
def run(
    name: Annotated[str, typer.Argument(help="The suite; see: excise suite list.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for pictures and result; the same command goes on with it.")],
    model: options.Model = "canvas",
    edit: options.Edits = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting of the suite, key=value.")] = None,
    weights: Annotated[list[str] | None, typer.Option("--weights", help="Weights that it scores with, NAME=PATH.")] = None,
    base: Annotated[Path | None, typer.Option("--base", help="The base model's answer set, if it is there already.")] = None,
    pictures: Annotated[Path | None, typer.Option("--pictures", help="Score this folder of pictures made elsewhere.")] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Score an incomplete set; the result says so.")
    ] = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Make the pictures of base and edited model that a protocol asks for, and score them."""
    from excise.jobs.suite import suite
    from excise.settings import parse_assignments

    with screen.progress() as progress:
        result = suite(
            name, out=out, model=model, edit=edit or (), settings=parse_assignments(settings or []),
            weights={key: str(value) for key, value in parse_assignments(weights or []).items()}, base=base, pictures=pictures,
            allow_partial=allow_partial, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    _show(result)
    print(out / "result.json")


@app.command("table", epilog=TABLE_EPILOG)
def table(
    results: Annotated[list[Path], typer.Argument(help="result.json files, or the folders that hold them.")],
) -> None:
    """Show results side by side; those that were not measured alike are marked."""
    from excise.report import suite_table

    columns, rows, notes = suite_table.table(suite_table.rows_of([suite_table.read(path) for path in results]))
    screen.table(columns, rows)
    for note in notes:
        print(note)


def _show(result: dict[str, Any]) -> None:
    from excise.report import result_table

    metrics = result["metrics"]
    names = dict.fromkeys(name for figures in metrics.values() for name in figures)
    rows = []
    for name in names:
        cells = [result_table.figure(f["value"], f["ci95"]) if (f := part.get(name)) else "" for part in metrics.values()]
        rows.append((name, *cells, str(next(part[name]["n"] for part in metrics.values() if name in part))))
    screen.table(("figure", *metrics, "pictures"), rows, result["protocol"])
    for warning in result["warnings"]:
        print(f"note: {warning}")
