"""What is shown on the terminal: progress on stderr, results on stdout."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from excise.progress import Progress, silent
from excise.report import downstream_table, information_table, plain_words, result_table
from excise.results.erasure import ErasureResult
from excise.results.evaluation import Evaluation
from excise.results.information import Measurement
from excise.visible import visible

_WIDTHS = range(20, 1001)
"""Widths of a terminal, in characters, that are believed (ours): with none nothing is shown, and a huge one fills the memory."""


def prepare() -> None:
    """Make the streams fit for every text: what a terminal's encoding lacks is written out, and what others write there is visible.

    Streams that were closed lead nowhere, so that no file that is opened takes their place and gets what is written to them.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, _Visible):
        sys.stderr = _Visible(sys.stderr)
    width = os.environ.get("COLUMNS", "")
    if width.isdecimal() and int(width) not in _WIDTHS:
        del os.environ["COLUMNS"]


def finish() -> None:
    """Write what is still to be written. Raises OSError where that cannot be: a full disk, a reader that has gone."""
    sys.stdout.flush()


def give_up(line: str) -> None:
    """Say a last line on stderr; what stdout has not taken is dropped."""
    if line:
        tell(line)
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: object) -> None:
    """Print lines on stdout."""
    for line in lines:
        print(visible(line))


def tell(line: str) -> None:
    """Print a line on stderr, if anybody listens."""
    with suppress(OSError):
        print(visible(line), file=sys.stderr, flush=True)


class _Visible:
    """A stream of text on which every line can be seen as it is, whoever writes it: hosts, warnings, tracebacks."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write("\n".join(map(visible, text.split("\n"))))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def progress() -> Iterator[Progress]:
    """One bar per stage with the time left; nothing when stderr is not a terminal."""
    quiet_hosts()
    if not sys.stderr.isatty():
        yield silent
        return
    with _bars() as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(visible(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<20}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr.stream if isinstance(sys.stderr, _Visible) else sys.stderr)
    return Progress(*columns, console=console)


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

    heads = [Column(Text(visible(column)), overflow="fold") for column in columns]
    grid = Table(
        *heads,
        title=Text(visible(title)) if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for row in rows:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(grid)


def evidence(result: ErasureResult) -> None:
    """All that was measured of an erasure: base and edited model, and what the words still say if that was measured."""
    if result.evaluation:
        measured(result.evaluation)
    else:
        say(f"not measured: {result.note}")
    if result.information:
        say("")
        information(result.information)
    say(*plain_words.learned(result.told))
    if result.extent == "quick" and (result.evaluation or result.information):
        say(result_table.QUICK)


def measured(found: Evaluation) -> None:
    """The measured numbers of base and edited model."""
    table(result_table.COLUMNS, result_table.table(found))
    quality = result_table.quality_table(found)
    if quality:
        table(result_table.COLUMNS[:3], quality)
        if caveat := (found.protocol.quality or {}).get("caveat"):
            say(caveat)
    if found.downstream:
        table(downstream_table.COLUMNS, downstream_table.table(found.downstream))
        for line in (downstream_table.NOTE, *downstream_table.lines(found.downstream)):
            say(line)
    say(f"95 % intervals in brackets; pictures: {result_table.counts(found)}")


def information(found: Measurement) -> None:
    """A measurement of residual information."""
    table(information_table.columns(found), information_table.table(found))
    say("nats per picture, given the rest of the prompt; 95 % intervals in brackets")
    for line in information_table.lines(found):
        say(line)
