"""`excise suite`: published protocols."""

from __future__ import annotations

from inspect import cleandoc

import typer

from excise.cli import screen
from excise.cli.command import Command
from excise.cli.errors import CommandGroup
from excise.evaluation.suites import suites
from excise.evaluation.weights import KNOWN
from excise.report import suite_table
from excise.report.result_table import figure
from excise.requests.suite import RESULT, SuiteListRequest, SuiteRequest, SuiteTableRequest
from excise.results.suite_result import SuiteResult

EXAMPLES = """
  excise suite list

  excise suite run unlearncanvas --set target=style:Van_Gogh --model ./uc-sd15 --edit out/van-gogh --out out/uc
  --weights uc_style=style50.pth --weights uc_object=style50_cls.pth"""

TABLE_EXAMPLES = """
  excise suite table out/uc-mim out/uc-esd

  excise suite table out/*/result.json"""

app = typer.Typer(
    cls=CommandGroup,
    help="Published protocols on your own prompts, models and classifiers.",
    rich_markup_mode="rich",
    epilog=f"Examples:\n\n{cleandoc(EXAMPLES)}",
)


def list_(request: SuiteListRequest) -> None:
    """Print every suite, its settings and its weights."""
    for suite in suites().values():
        rows = [(name, "setting", field.description or "") for name, field in suite.settings.model_fields.items()]
        rows += [
            (name, "weights", f"{KNOWN[name].purpose}: {KNOWN[name].file} of {KNOWN[name].address}") for name in suite.weights
        ]
        screen.table(("name", "", ""), rows, f"{suite.name}: {suite.title} ({suite.source})")
        screen.say(f"you supply: {suite.files}", "")


def run(request: SuiteRequest) -> None:
    """Make and score the pictures, and print the figures."""
    from excise.jobs.suite import run as job

    with screen.progress() as progress:
        result = job(request, progress)
    _show(result)
    screen.say(request.out / RESULT)


def table(request: SuiteTableRequest) -> None:
    """Print the results side by side."""
    columns, rows, notes = suite_table.table(suite_table.rows_of([suite_table.read(path) for path in request.results]))
    screen.table(columns, rows)
    for note in notes:
        screen.say(note)


def _show(result: SuiteResult) -> None:
    parts = result.metrics.parts
    rows = []
    for name in dict.fromkeys(name for figures in parts.values() for name in figures):
        found = [figures[name] for figures in parts.values() if name in figures]
        cells = [figure(figures[name]) if name in figures else "" for figures in parts.values()]
        rows.append((name, *cells, str(found[0].n if found[0] else 0)))
    screen.table(("figure", *parts, "pictures"), rows, result.protocol)
    for warning in result.warnings:
        screen.say(f"note: {warning}")


Command("list", SuiteListRequest, list_, EXAMPLES, looks=True).add_to(app)
Command("run", SuiteRequest, run, EXAMPLES).add_to(app)
Command("table", SuiteTableRequest, table, TABLE_EXAMPLES, looks=True).add_to(app)
