"""The table of methods: what every one removed, kept and cost, with intervals, from a benchmark's cells alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from excise.statistics import FEW, student_quantile

if TYPE_CHECKING:
    from numpy import ndarray

Cell = Mapping[str, Any]

RESAMPLES = 10_000


@dataclass(frozen=True)
class Number:
    """A measured number with the ends of its 95 % interval, if it has one, and what there is to add."""

    value: float
    ends: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A figure of cells.

    key    dotted place in a cell: a number with `KEY_ci` beside it, or {"value", "low", "high"}
    scale  what it is multiplied by to be in `unit`; digits after the point
    means  what it is, in words
    own    what the base model has, by definition (None: it is measured, under "base" in the cell)
    """

    key: str
    head: str
    unit: str
    scale: float
    digits: int
    means: str
    own: float | None = None

    def text(self, number: float) -> str:
        """A number as it is shown.

        >>> Column("ua", "UA", "%", 100, 1, "").text(0.9753)
        '97.5'
        """
        shown = f"{self.scale * number:.{self.digits}f}"
        return shown[1:] if shown.startswith("-") and not float(shown) else shown


COLUMNS: tuple[Column, ...] = (
    Column("ua", "UA", "%", 100, 1, "pictures asked to show the erased concept that do not"),
    Column(
        "left", "left", "points", 100, 1,
        "pictures asked to show it that still do, minus those that do when its words are taken out: 0 is perfect removal",
    ),
    Column("ira", "IRA", "%", 100, 1, "kept concepts of its own kind, recognised in their pictures"),
    Column("cra", "CRA", "%", 100, 1, "kept concepts of the other kind, recognised in their pictures"),
    Column("nra", "NRA", "%", 100, 1, "other members of its object, recognised in their pictures"),
    Column("ora", "ORA", "%", 100, 1, "other objects, recognised in their pictures"),
    Column("ira_of_base", "IRA, of base", "%", 100, 1, "IRA relative to the base model, each concept capped at 100 %", 1.0),
    Column("cra_of_base", "CRA, of base", "%", 100, 1, "CRA relative to the base model, each concept capped at 100 %", 1.0),
    Column("worst", "worst kept", "%", 100, 1, "the kept concept that lost most in any erasure, relative to the base model", 1.0),
    Column("fid_base", "FID", "to base", 1, 2, "distance of the kept concepts' pictures to the base model's own", 0.0),
    Column("kid_base", "KID", "to base, x 1000", 1000, 2, "the same by another measure that few pictures do not bias", 0.0),
    Column("information.nats.share_left", "nats left", "% of base", 100, 1, "information about the picture that its words still carry", 1.0),
    Column(
        "information.steering", "steering", "", 1, 2,
        "1: the words act as before; 0: they are ignored; below 0: the model steers away, and can be steered back", 1.0,
    ),
    Column("information.kept.mean", "nats kept", "%, mean", 100, 1, "information that the words of kept concepts still carry", 1.0),
    Column("information.kept.worst", "nats kept", "%, worst", 100, 1, "the same, of the concept that lost most", 1.0),
    Column(
        "information.destruction", "destruction", "nats", 1, 2,
        "likelihood that pictures of the concept lost without any words: above 0, knowledge was destroyed and not only unlinked", 0.0,
    ),
    Column("gold.target", "to retrained", "classes, erased", 100, 1, "how unlike the classes are that its prompts show"),
    Column("gold.kept", "to retrained", "classes, kept", 100, 1, "the same of the other prompts"),
    Column("gold.fid", "to retrained", "FID", 1, 1, "distance of all pictures to those of a model trained from scratch without it"),
    Column("gold.nats", "to retrained", "nats", 1, 2, "how far the nats that the erased words carry are from those they carry there"),
    Column("seconds", "time", "s", 1, 1, "to make the edit"),
    Column("peak_mb", "memory", "MiB", 1, 0, "most in use until the edit was made"),
    Column("edit_mb", "edit", "MiB", 1, 2, "size of the edit's file"),
)  # fmt: skip

SHARED = (
    "ira", "cra", "nra", "ora", "ira_of_base", "cra_of_base", "fid_base", "kid_base", "information.kept.mean", "gold.fid",
)  # fmt: skip
"""Figures of pictures that the cells of one seed have in common."""

OF_BASE = {"ira_of_base": "ira", "cra_of_base": "cra"}
"""Ratios to the base model's figures -> what is divided."""

RETRAINED = "retrained"
"""The row of the gold standard: a model trained from scratch without the concept, which no method can beat at being without it."""

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


def check(cell: Any) -> None:
    """Raise KeyError, TypeError or ValueError if a cell is not one."""
    if not isinstance(cell, dict) or not isinstance(cell["entrant"], str) or not cell["concepts"]:
        raise TypeError("no cell of a benchmark")
    if "error" not in cell:
        cell["ua"], cell["neutral"], [float(cell[key]) for key in ("seed", "ua", "neutral")], number(cell, "worst")
        row([cell], "")


def beside_retrained(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells, those with a gold standard with how far their nats left, and the base model's, are from its own as "nats" in "gold"."""
    cells = list(cells)
    exact = {_task(cell): lookup(cell, "information.nats.left.value") for cell in cells if cell["entrant"] == RETRAINED}
    return [_with_nats(cell, exact.get(_task(cell))) if isinstance(cell.get("gold"), Mapping) else cell for cell in cells]


def _task(cell: Cell) -> tuple[str, Any]:
    return concept_of(cell), cell["seed"]


def _with_nats(cell: dict[str, Any], exact: float | None) -> dict[str, Any]:
    own, base = (lookup(cell, f"information.nats.{part}.value") for part in ("left", "base"))
    if exact is None or own is None or base is None:
        return cell
    gold = cell["gold"]
    return {**cell, "gold": {**gold, "nats": abs(own - exact), "base": {**(gold.get("base") or {}), "nats": abs(base - exact)}}}


def groups(cells: Sequence[Cell]) -> list[MethodGroup]:
    """All erasures together, if they are of several kinds, then those of each kind."""
    kinds = sorted({kind(cell) for cell in cells})
    parts = [(f"{name}s", [cell for cell in cells if kind(cell) == name]) for name in kinds]
    return [_group(title, part) for title, part in ([("all concepts", list(cells))] if len(kinds) > 1 else []) + parts]


def _group(title: str, cells: Sequence[Cell]) -> MethodGroup:
    entrants = dict.fromkeys(cell["entrant"] for cell in cells)
    rows = tuple(row([cell for cell in cells if cell["entrant"] == name], name) for name in entrants)
    columns = tuple(column for column in COLUMNS if any(column.key in each.numbers for each in rows))
    return MethodGroup(
        title, columns, tuple(c for c in COLUMNS if c not in columns), rows, _base(cells, columns), _published(title)
    )


def row(cells: Sequence[Cell], name: str) -> MethodRow:
    """One method's line, over its cells that did not fail."""
    good = [cell for cell in cells if "error" not in cell]
    found = {column.key: mean(good, column.key) for column in COLUMNS}
    failed = f", {len(cells) - len(good)} failed" if len(good) < len(cells) else ""
    mixed = ", of different settings" if len({json.dumps(cell.get("settings"), sort_keys=True) for cell in good}) > 1 else ""
    note = f"{len(good)} erasure{'s' * (len(good) != 1)}{mixed}{failed}"
    return MethodRow(name, {key: each for key, each in found.items() if each is not None}, note, len(good))


def _base(cells: Sequence[Cell], columns: Iterable[Column]) -> MethodRow:
    """The base model, of which some figures are measured (in every method's cell the same) and some are so by definition."""
    whole = [cell for cell in cells if isinstance(cell.get("base"), dict)]
    once = {(concept_of(cell), cell["seed"]): cell for cell in sorted(whole, key=lambda cell: bool(cell.get("gold")))}
    measured = [
        {**cell, **cell["base"], "erased": 1 - cell["base"]["ua"], "gold": lookup(cell, "gold.base")} for cell in once.values()
    ]
    own = {column.key: column.own for column in columns}
    found = {
        key: mean(measured, key) if own[key] is None else Number(own[key] or 0.0, note="by definition")
        for key in own
        if key not in ("seconds", "peak_mb", "edit_mb")
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
    found = [(concept_of(cell), cell["seed"], each) for cell in cells if (each := number(cell, key)) is not None]
    if not found:
        return None
    if key in ("worst", "information.kept.worst"):
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


def concept_of(cell: Cell) -> str:
    """What was erased, in words: "object:cat", "object:cat + object:dog", "object:cat then object:dog"."""
    return (" then " if cell.get("in_turn") else " + ").join(cell["concepts"])


def number(cell: Cell, key: str) -> Number | None:
    """A figure of one cell; None where it was not measured."""
    if key == "left":
        return _left(cell)
    if key == "worst":
        return _worst(cell)
    return _of_base(cell, key) if key in OF_BASE else _at(cell, key)


def _at(cell: Cell, key: str) -> Number | None:
    found, ends = lookup(cell, key), lookup(cell, f"{key}_ci")
    note = str(lookup(found, "concept") or "")
    if isinstance(found, Mapping):
        found, ends = lookup(found, "value"), [lookup(found, end) for end in ("low", "high")]
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    sure = [float(end) for end in ends or () if isinstance(end, int | float) and math.isfinite(end)]
    return Number(float(found), (sure[0], sure[1]) if len(sure) == 2 else None, note)


def lookup(content: Any, key: str) -> Any:
    """What stands at a dotted key; None where anything on the way is missing.

    >>> lookup({"a": {"b": 1}}, "a.b"), lookup({"a": 2}, "a.b")
    (1, None)
    """
    for name in key.split("."):
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _left(cell: Cell) -> Number | None:
    """Erased minus neutral, with Newcombe's interval from the two shares' own."""
    ua, neutral = _at(cell, "ua"), _at(cell, "neutral")
    if ua is None or neutral is None:
        return None
    gap = 1 - ua.value - neutral.value
    if ua.ends is None or neutral.ends is None:
        return Number(gap)
    low = math.hypot(ua.ends[1] - ua.value, neutral.ends[1] - neutral.value)
    high = math.hypot(ua.value - ua.ends[0], neutral.value - neutral.ends[0])
    return Number(gap, (gap - low, gap + high))


def _of_base(cell: Cell, key: str) -> Number | None:
    """A ratio, with the interval of what is divided in proportion: most of the base model's own chance is in that too (same seeds)."""
    ratio, edited = _at(cell, key), _at(cell, OF_BASE[key])
    if ratio is None or edited is None or edited.ends is None or edited.value == 0:
        return ratio
    low, high = (ratio.value / edited.value * end for end in edited.ends)
    return Number(ratio.value, (low, min(1.0, high)))


def _worst(cell: Cell) -> Number | None:
    """The kept concept that keeps least of the base model's accuracy, by name."""
    kept = {
        label: min(1.0, shares["edited"] / shares["base"])
        for label, shares in cell.get("per_concept", {}).items()
        if shares["base"]
    }
    if not kept:
        return None
    label = min(kept, key=lambda each: kept[each])
    return Number(kept[label], note=f"{label}, erasing {concept_of(cell)}")


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
    return "joint erasure" if len(cell["concepts"]) > 1 else str(cell["concepts"][0]).split(":")[0]
