"""What is shown on the terminal: progress on stderr, results on stdout; what is asked to be quiet or aside is neither."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from excise.cli.plain_progress import PlainProgress
from excise.progress import Progress, silent
from excise.report import downstream_table, information_table, plain_words, result_table
from excise.results.erasure import ErasureResult
from excise.results.evaluation import Evaluation
from excise.results.information import Measurement
from excise.visible import visible

_WIDTHS = range(20, 1001)
"""Widths of a terminal, in characters, that are believed (ours): with none nothing is shown, and a huge one fills the memory."""


@dataclass(frozen=True)
class Wish:
    """How a user wants a command to show what it does.

    quiet  nothing on stderr but errors and warnings
    aside  nothing on stdout but JSON: what else would stand there goes to stderr
    """

    quiet: bool = False
    aside: bool = False


_wish = Wish()


@contextmanager
def as_wished(wish: Wish) -> Iterator[None]:
    """Inside the block everything is shown as the user wants it."""
    global _wish
    before, _wish = _wish, wish
    try:
        yield
    finally:
        _wish = before


def is_quiet() -> bool:
    """Whether nothing but errors and warnings is to be on stderr."""
    return _wish.quiet


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
    """Print lines on stdout; on stderr where stdout is for JSON."""
    for line in lines:
        if not _wish.aside:
            print(visible(line))
        elif not _wish.quiet:
            tell(str(line))


def tell(line: str) -> None:
    """Print a line on stderr, if anybody listens."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{visible(line)}\n")
        sys.stderr.flush()


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
    """One bar per stage with the time left. Lines where stderr is no terminal, or where bars would be drawn over JSON."""
    quiet_hosts()
    if _wish.quiet:
        yield silent
        return
    if not sys.stderr.isatty() or (_wish.aside and sys.stdout.isatty()):
        with PlainProgress(tell).watched() as lines:
            yield lines
        return
    with _bars() as bars:
        tasks: dict[str, Any] = {}
        reached: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(visible(stage), total=total)
            if done < reached.get(stage, 0):  # it comes again, as in a benchmark, and is timed anew
                bars.reset(tasks[stage])
            reached[stage] = done
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
    return Progress(*columns, console=Console(file=_bare(sys.stderr)), redirect_stdout=False)


def _bare(stream: Any) -> Any:
    """A stream on which rich may write what acts on a terminal."""
    return stream.stream if isinstance(stream, _Visible) else stream


def quiet_hosts() -> None:
    """Only errors from the libraries underneath, unless the user has said otherwise; read when they are imported."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells in two lines where it cannot keep its fonts


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table, where `say` prints; text of users, which headings may be too, is not taken for markup."""
    if _wish.aside and _wish.quiet:
        return
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
    stream = sys.stderr if _wish.aside else sys.stdout
    Console(file=_bare(stream), width=None if stream.isatty() else 160).print(grid)


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
