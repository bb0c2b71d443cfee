"""The table of methods: what every one removed, kept and cost, with intervals, from a benchmark's cells alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from excise.figures import Figure
from excise.report.bench_columns import COLUMNS, COST, LEAST, SHARED, Column, Number, column
from excise.results.cell import RETRAINED, Cell
from excise.statistics import FEW, student_quantile

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 10_000

PUBLISHED = {
    "ua": "ua",
    "ira": "ira",
    "cra": "cra",
    "fid_base": "uc_fid",
    "seconds": "time_s",
    "peak_mb": "mem_gb",
    "edit_mb": "storage_gb",
}
"""Columns that UnlearnCanvas's table has too, and their names there; the first three by kind."""

PUBLISHED_SCALE = {"mem_gb": 1024.0, "storage_gb": 1024.0}

EVIDENCE = {
    "csv+img": "from the authors' own table",
    "3rd": "from two copies of the paper's table that agree",
    "3rd-single": "from one copy of the paper's table",
    "unverified": "not verified",
}  # fmt: skip


@dataclass(frozen=True)
class MethodRow:
    """A line of the table: numbers by column key, those that are not there were not measured; how many erasures it is the mean of."""

    name: str
    numbers: Mapping[str, Number]
    note: str = ""
    erasures: int = 0


@dataclass(frozen=True)
class MethodGroup:
    """The erasures of one kind of concept, or all: columns that somebody has, rows of methods, the base model's row, published rows."""

    title: str
    columns: tuple[Column, ...]
    missing: tuple[Column, ...]
    rows: tuple[MethodRow, ...]
    base: MethodRow
    published: tuple[MethodRow, ...] = ()

    @property
    def sources(self) -> list[str]:
        """Where published rows were read."""
        return list(dict.fromkeys(row.note for row in self.published))


def beside_retrained(cells: Iterable[Cell]) -> list[Cell]:
    """The cells, those with a gold standard with how far their nats left, and the base model's, are from its own."""
    cells = list(cells)
    exact = {
        (cell.task, cell.seed): cell.information.nats.left for cell in cells if cell.entrant == RETRAINED and cell.information
    }
    return [_with_nats(cell, exact.get((cell.task, cell.seed))) for cell in cells]


def _with_nats(cell: Cell, exact: Figure | None) -> Cell:
    if exact is None or cell.information is None or cell.evaluation is None or cell.evaluation.gold is None:
        return cell
    nats, gold = cell.information.nats, cell.evaluation.gold
    if nats.left is None or nats.base is None:
        return cell
    base = gold.base and gold.base.model_copy(update={"nats": abs(nats.base.value - exact.value)})
    gold = gold.model_copy(update={"nats": abs(nats.left.value - exact.value), "base": base})
    return cell.model_copy(update={"evaluation": cell.evaluation.model_copy(update={"gold": gold})})


def groups(cells: Sequence[Cell]) -> list[MethodGroup]:
    """All erasures together, if they are of several kinds, then those of each kind."""
    kinds = sorted({kind(cell) for cell in cells})
    parts = [(f"{name}s", [cell for cell in cells if kind(cell) == name]) for name in kinds]
    return [_group(title, part) for title, part in ([("all concepts", list(cells))] if len(kinds) > 1 else []) + parts]


def _group(title: str, cells: Sequence[Cell]) -> MethodGroup:
    entrants = dict.fromkeys(cell.entrant for cell in cells)
    rows = tuple(row([cell for cell in cells if cell.entrant == name], name) for name in entrants)
    columns = tuple(column for column in COLUMNS if any(column.key in each.numbers for each in rows))
    return MethodGroup(
        title, columns, tuple(c for c in COLUMNS if c not in columns), rows, _base(cells, columns), _published(title)
    )


def row(cells: Sequence[Cell], name: str) -> MethodRow:
    """One method's line, over its cells that did not fail."""
    good = [cell for cell in cells if not cell.error]
    found = {column.key: mean(good, column.key) for column in COLUMNS}
    failed = f", {len(cells) - len(good)} failed" if len(good) < len(cells) else ""
    mixed = ", of different settings" if len({json.dumps(cell.settings, sort_keys=True) for cell in good}) > 1 else ""
    note = f"{len(good)} erasure{'s' * (len(good) != 1)}{mixed}{failed}"
    return MethodRow(name, {key: each for key, each in found.items() if each is not None}, note, len(good))


def _base(cells: Sequence[Cell], columns: Iterable[Column]) -> MethodRow:
    """The base model, of which some figures are measured (in every method's cell the same) and some are so by definition."""
    measured = [cell for cell in cells if cell.evaluation]
    once = {(cell.task, cell.seed): cell for cell in sorted(measured, key=lambda c: bool(c.evaluation and c.evaluation.gold))}
    bases = [cell.model_copy(update={"evaluation": cell.evaluation and cell.evaluation.of_base()}) for cell in once.values()]
    found = {
        column.key: mean(bases, column.key) if column.own is None else Number(column.own, note="by definition")
        for column in columns
        if column.key not in COST
    }
    return MethodRow("base model", {key: each for key, each in found.items() if each is not None}, note="nothing erased")


def _published(title: str) -> tuple[MethodRow, ...]:
    """UnlearnCanvas's rows for this kind of concept. Its rates are comparable with ours in meaning only: another model, other pictures."""
    from excise.evaluation.suites.unlearncanvas.variants import published

    side = {"styles": "s_", "objects": "o_"}.get(title)
    rows = []
    for record in published() if side else []:
        names = {key: f"{side}{name}" if key in ("ua", "ira", "cra") else name for key, name in PUBLISHED.items()}
        found = {
            key: Number(value * PUBLISHED_SCALE.get(name, 1.0))
            for key, name in names.items()
            if (value := record.figures.get(name)) is not None
        }
        if "ua" in found:
            known = record.protocol.removesuffix("?")
            unlike = "" if record.protocol == "uc" else "; protocol not stated" if known == "uc" else f"; protocol {known}"
            rows.append(MethodRow(record.method, found, note=EVIDENCE.get(record.evidence, record.evidence) + unlike))
    return tuple(rows)


def mean(cells: Sequence[Cell], key: str) -> Number | None:
    """The mean of a figure over cells, seeds of one concept first; None if no cell has it.

    Its interval is the wider of two: the bootstrap over concepts (percentiles, fixed seed), which sees that concepts differ; and what the
    cells' own intervals leave of chance within them. Pictures of kept concepts are the same in the cells of one seed, so chance does not
    cancel between those, only between seeds. The worst of something is not averaged, and has no interval.
    """
    read = column(key).read
    found = [(cell.task, cell.seed, each) for cell in cells if (each := read(cell)) is not None]
    if not found:
        return None
    if key in LEAST:
        least = min((each for *_, each in found), key=lambda each: each.value)
        return Number(least.value, note=least.note)
    by_concept: dict[str, list[float]] = {}
    for concept, _, each in found:
        by_concept.setdefault(concept, []).append(each.value)
    values = [sum(each) / len(each) for each in by_concept.values()]
    middle = sum(values) / len(values)
    draws = [(seed if key in SHARED else place, each) for place, (_, seed, each) in enumerate(found)]
    spans = [_within(middle, draws), _over(values)]
    ends = [each for each in spans if each is not None]
    return Number(middle, (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None)


def _within(middle: float, found: Sequence[tuple[int, Number]]) -> tuple[float, float] | None:
    """What is left of the intervals' widths in the mean of numbers; None where one has no interval.

    found  each with a draw: chance is the same in numbers of one draw, and independent between draws
    """
    draws: dict[int, list[tuple[float, float]]] = {}
    for draw, each in found:
        if each.ends is None:
            return None
        draws.setdefault(draw, []).append((each.value - each.ends[0], each.ends[1] - each.value))
    low, high = (math.hypot(*(sum(widths[end] for widths in draw) for draw in draws.values())) / len(found) for end in (0, 1))
    return middle - low, middle + high


def _over(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of their mean: expanded percentiles of resamples as in `information.bootstrap.interval`; of few Student's t."""
    import numpy

    n = len(values)
    if n < 2:
        return None
    spreads = student_quantile(0.975, n - 1) * math.sqrt(n / (n - 1))
    if n < FEW:
        half = spreads * float(numpy.std(values)) / math.sqrt(n)
        middle = sum(values) / n
        return middle - half, middle + half
    tail = 100 * NormalDist().cdf(-spreads)
    low, high = numpy.percentile(numpy.asarray(values)[_picks(n)].mean(1), [tail, 100 - tail])
    return float(low), float(high)


@cache
def _picks(count: int) -> ndarray:
    import numpy

    return numpy.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def kind(cell: Cell) -> str:
    """What was erased: "object", "style", ..., or a "joint erasure" of several concepts."""
    return "joint erasure" if len(cell.concepts) > 1 else cell.concepts[0].split(":")[0]
