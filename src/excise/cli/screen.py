"""What is shown on the terminal: progress on stderr, results on stdout."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from excise.progress import Progress, silent
from excise.report import information_table, result_table
from excise.results.erasure import ErasureResult
from excise.results.evaluation import Evaluation
from excise.results.information import Measurement


@contextmanager
def progress() -> Iterator[Progress]:
    """One bar per stage with the time left; nothing when stderr is not a terminal."""
    quiet_hosts()
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, Any] = {}
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def quiet_hosts() -> None:
    """Only errors from the libraries underneath, unless the user has said otherwise; read when they are imported."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells in two lines where it cannot keep its fonts


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on stdout; text of users, which headings may be too, is not taken for markup."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    heads = [Column(Text(column)) for column in columns]
    grid = Table(
        *heads, title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(grid)


def evidence(result: ErasureResult) -> None:
    """All that was measured of an erasure: base and edited model, and what the words still say if that was measured."""
    if result.evaluation:
        measured(result.evaluation)
    else:
        print(f"not measured: {result.note}")
    if result.information:
        print()
        information(result.information)


def measured(found: Evaluation) -> None:
    """The measured numbers of base and edited model."""
    table(result_table.COLUMNS, result_table.table(found))
    quality = result_table.quality_table(found)
    if quality:
        table(result_table.COLUMNS[:3], quality)
        if caveat := (found.protocol.quality or {}).get("caveat"):
            print(caveat)
    print(f"95 % intervals in brackets; pictures: {result_table.counts(found)}")


def information(found: Measurement) -> None:
    """A measurement of residual information."""
    table(information_table.columns(found), information_table.table(found))
    print("nats per picture, given the rest of the prompt; 95 % intervals in brackets")
    for line in information_table.lines(found):
        print(line)
