"""The figures of a benchmark's cells: what each is called, shown in and read from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from excise.figures import Figure
from excise.report.glossary import WORDS
from excise.results.cell import Cell, CellInformation
from excise.results.evaluation import Evaluation, GoldDistances


@dataclass(frozen=True)
class Number:
    """A measured number with the ends of its 95 % interval, if it has one, and what there is to add."""

    value: float
    ends: tuple[float, float] | None = None
    note: str = ""


Read = Callable[[Cell], Number | None]


@dataclass(frozen=True)
class Column:
    """A figure of cells.

    key    its name
    scale  what it is multiplied by to be in `unit`; digits after the point
    means  what it is, in words
    read   reads it in a cell; None where it was not measured
    own    what the base model has, by definition (None: it is measured too)
    """

    key: str
    head: str
    unit: str
    scale: float
    digits: int
    means: str
    read: Read
    own: float | None = None

    def text(self, number: float) -> str:
        """A number as it is shown.

        >>> column("ua").text(0.9753)
        '97.5'
        """
        shown = f"{self.scale * number:.{self.digits}f}"
        return shown[1:] if shown.startswith("-") and not float(shown) else shown


def _number(found: Figure | float | None) -> Number | None:
    if isinstance(found, Figure):
        return Number(found.value, found.interval, getattr(found, "concept", ""))
    return None if found is None else Number(found)


def _of_pictures(read: Callable[[Evaluation], Figure | float | None]) -> Read:
    return lambda cell: _number(read(cell.evaluation)) if cell.evaluation else None


def _of_words(read: Callable[[CellInformation], Figure | float | None]) -> Read:
    return lambda cell: _number(read(cell.information)) if cell.information else None


def _of_gold(read: Callable[[GoldDistances], Figure | float | None]) -> Read:
    return lambda cell: _number(read(cell.evaluation.gold)) if cell.evaluation and cell.evaluation.gold else None


def _left(cell: Cell) -> Number | None:
    """Erased minus neutral, with Newcombe's interval from the two shares' own."""
    if cell.evaluation is None or cell.evaluation.neutral is None:
        return None
    ua, neutral = cell.evaluation.ua, cell.evaluation.neutral
    gap = 1 - ua.value - neutral.value
    if ua.interval is None or neutral.interval is None:
        return Number(gap)
    low = math.hypot(ua.interval[1] - ua.value, neutral.interval[1] - neutral.value)
    high = math.hypot(ua.value - ua.interval[0], neutral.value - neutral.interval[0])
    return Number(gap, (gap - low, gap + high))


def _of_base(name: str) -> Read:
    """A ratio, with the interval of what is divided in proportion: most of the base model's own chance is in that too (same seeds)."""

    def read(cell: Cell) -> Number | None:
        if cell.evaluation is None:
            return None
        ratio: float | None = getattr(cell.evaluation, f"{name}_of_base")
        edited: Figure | None = getattr(cell.evaluation, name)
        if ratio is None or edited is None or edited.interval is None or edited.value == 0:
            return _number(ratio)
        low, high = (ratio / edited.value * end for end in edited.interval)
        return Number(ratio, (low, min(high, 1.0)))

    return read


def _worst(cell: Cell) -> Number | None:
    """The kept concept that keeps least of the base model's accuracy, by name."""
    known = [shares for shares in (cell.evaluation.retained if cell.evaluation else ()) if shares.base]
    if not known:
        return None
    kept, concept = min(((min(1.0, shares.edited / shares.base), shares.concept) for shares in known), key=lambda each: each[0])
    return Number(kept, note=f"{concept}, erasing {cell.task}")


COLUMNS: tuple[Column, ...] = (
    Column("ua", "UA", "%", 100, 1, WORDS["UA"], _of_pictures(lambda e: e.ua)),
    Column(
        "left", "left", "points", 100, 1,
        "pictures asked to show it that still do, minus those that do when its words are taken out: 0 is perfect removal", _left,
    ),
    Column("ira", "IRA", "%", 100, 1, WORDS["IRA"], _of_pictures(lambda e: e.ira)),
    Column("cra", "CRA", "%", 100, 1, WORDS["CRA"], _of_pictures(lambda e: e.cra)),
    Column("nra", "NRA", "%", 100, 1, WORDS["NRA"], _of_pictures(lambda e: e.nra)),
    Column("ora", "ORA", "%", 100, 1, WORDS["ORA"], _of_pictures(lambda e: e.ora)),
    Column(
        "ira_of_base", "IRA, of base", "%", 100, 1, "IRA relative to the base model, each concept capped at 100 %", _of_base("ira"), 1.0,
    ),
    Column(
        "cra_of_base", "CRA, of base", "%", 100, 1, "CRA relative to the base model, each concept capped at 100 %", _of_base("cra"), 1.0,
    ),
    Column(
        "worst", "worst kept", "%", 100, 1, "the kept concept that lost most in any erasure, relative to the base model", _worst, 1.0,
    ),
    Column(
        "bystanders_of_base", "bystanders", "%, of base", 100, 1,
        "things that no method was told of, recognised in their pictures, relative to the base model", _of_base("bystanders"), 1.0,
    ),
    Column(
        "bystander_change", "bystanders", "change", 1, 3,
        "how far their pictures moved from the base model's own; 1: as far as pictures of different things are apart",
        _of_pictures(lambda e: e.bystander_change), 0.0,
    ),
    Column(
        "fid_base", "FID", "to base", 1, 2, WORDS["FID"],
        _of_pictures(lambda e: e.fid_base), 0.0,
    ),
    Column(
        "kid_base", "KID", "to base, x 1000", 1000, 2, WORDS["KID"],
        _of_pictures(lambda e: e.kid_base), 0.0,
    ),
    Column(
        "nats_left", "nats left", "% of base", 100, 1, "information about the picture that its words still carry",
        _of_words(lambda i: i.nats.share_left), 1.0,
    ),
    Column(
        "steering", "steering", "", 1, 2,
        WORDS["steering"],
        _of_words(lambda i: i.steering), 1.0,
    ),
    Column(
        "nats_kept", "nats kept", "%, mean", 100, 1, "information that the words of kept concepts still carry",
        _of_words(lambda i: i.kept.mean if i.kept else None), 1.0,
    ),
    Column(
        "nats_kept_worst", "nats kept", "%, worst", 100, 1, "the same, of the concept that lost most",
        _of_words(lambda i: i.kept.worst if i.kept else None), 1.0,
    ),
    Column(
        "destruction", "destruction", "nats", 1, 2,
        "likelihood that pictures of the concept lost without any words: above 0, knowledge was destroyed and not only unlinked",
        _of_words(lambda i: i.destruction), 0.0,
    ),
    Column(
        "gold_target", "to retrained", "classes, erased", 100, 1, "how unlike the classes are that its prompts show",
        _of_gold(lambda g: g.target),
    ),
    Column("gold_kept", "to retrained", "classes, kept", 100, 1, "the same of the other prompts", _of_gold(lambda g: g.kept)),
    Column(
        "gold_fid", "to retrained", "FID", 1, 1, "distance of all pictures to those of a model trained from scratch without it",
        _of_gold(lambda g: g.fid),
    ),
    Column(
        "gold_nats", "to retrained", "nats", 1, 2, "how far the nats that the erased words carry are from those they carry there",
        _of_gold(lambda g: g.nats),
    ),
    Column("seconds", "time", "s", 1, 1, "to make the edit", lambda cell: _number(cell.seconds)),
    Column("peak_mb", "memory", "MiB", 1, 0, "most in use until the edit was made", lambda cell: _number(cell.peak_mb)),
    Column("edit_mb", "edit", "MiB", 1, 2, "size of the edit's file", lambda cell: _number(cell.edit_mb)),
)  # fmt: skip


def column(key: str) -> Column:
    """The column of that key."""
    return next(each for each in COLUMNS if each.key == key)


SHARED = (
    "ira", "cra", "nra", "ora", "ira_of_base", "cra_of_base", "bystanders_of_base", "bystander_change", "fid_base", "kid_base", "nats_kept",
    "gold_fid",
)  # fmt: skip
"""Figures of pictures that the cells of one seed have in common."""

LEAST = ("worst", "nats_kept_worst")
"""Figures of the concept that lost most, by name."""

COST = ("seconds", "peak_mb", "edit_mb")
"""Figures that the base model has not: nothing was done to it."""
