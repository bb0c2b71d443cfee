"""What a queue of removals did to a model, step after step: the erosion curve, from a ledger's points. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from excise.results.evaluation import ConceptShares
from excise.results.removal_ledger import ErosionPoint, RemovalLedger

COLUMNS = (
    "erased",
    "now, above neutral",
    "earlier, mean",
    "earlier, worst",
    "kept, own kind",
    "kept, other kind",
    "kept, worst",
    "weights changed",
)
NOTE = (
    "Above neutral: per cent of pictures that show the concept minus those that show it without its words, in points; 0 is perfect removal. "
    "Now: what was erased last; earlier: what was erased before, where more than 0 is a relapse. Kept: per cent of the base model's accuracy "
    "on what nobody asked to erase. Weights changed: norm of the change, per cent of that of the weights."
)
NOTHING = "–"


@dataclass(frozen=True)
class ErosionRow:
    """One point of the curve; None: not measured, or nothing to measure. Shares in per cent, differences in points.

    name    of what was erased or given back since the point before
    erased  number of concepts that are erased
    now     of the newest concepts: still shown, above neutral (mean)
    relapse of the earlier ones the mean, and worst_relapse the largest
    own     and other: accuracy kept on concepts of the erased ones' kind and of the other; worst of a single one
    fid     of the pictures of what is kept, to the base model's own; nats: that other words keep, of the base model's
    drift   norm of the change over that of the weights
    """

    name: str
    erased: int
    now: float | None = None
    relapse: float | None = None
    worst_relapse: float | None = None
    own: float | None = None
    other: float | None = None
    worst: float | None = None
    fid: float | None = None
    nats: float | None = None
    drift: float | None = None


def rows(points: Sequence[ErosionPoint]) -> list[ErosionRow]:
    """A row per point."""
    before: tuple[str, ...] = ()
    found = []
    for point in points:
        found.append(_row(point, before))
        before = point.concepts
    return found


def table(points: Sequence[ErosionPoint]) -> list[tuple[str, ...]]:
    """A line per point."""
    return [
        (
            f"{row.erased}: {row.name}",
            *(_points(value) for value in (row.now, row.relapse, row.worst_relapse)),
            *(_share(value) for value in (row.own, row.other, row.worst)),
            NOTHING if row.drift is None else f"{row.drift:.3g}",
        )
        for row in rows(points)
    ]


def requests(ledger: RemovalLedger) -> list[tuple[str, ...]]:
    """A line per request."""
    return [
        (
            record.key,
            record.state,
            record.date or NOTHING,
            record.method,
            record.served or NOTHING,
            f"{record.withdrawn}, {record.given_back}" if record.given_back else NOTHING,
            record.reason,
        )
        for record in ledger.records
    ]


REQUESTS = ("request", "state", "asked on", "method", "erased on", "given back", "reason")


def lines(ledger: RemovalLedger) -> list[str]:
    """What there is to say beside the tables."""
    erased = ", ".join(ledger.erased) or "nothing"
    back = [record.key for record in ledger.records if record.withdrawn and record.given_back != "was never erased"]
    said = [f"{ledger.strategy}: erased from {ledger.model}: {erased}"]
    return said + ([f"given back: {', '.join(back)}"] if back else [])


def slope(points: Sequence[tuple[int, float]]) -> float | None:
    """Change of a figure with every further concept, by least squares; None for fewer than two places.

    >>> slope([(1, 100.0), (2, 99.0), (3, 98.0)])
    -1.0
    """
    places = [place for place, _ in points]
    if len(set(places)) < 2:
        return None
    middle, mean = fmean(places), fmean(value for _, value in points)
    return sum((x - middle) * (y - mean) for x, y in points) / sum((x - middle) ** 2 for x in places)


def _row(point: ErosionPoint, before: Sequence[str]) -> ErosionRow:
    new = [label for label in point.concepts if label not in before]
    back = [label for label in before if label not in point.concepts]
    name = " ".join([*(f"+{label}" for label in new), *(f"-{label}" for label in back)]) or "the same, made anew"
    drift = None if point.drift is None else 100 * point.drift
    found = point.evaluation
    if found is None:
        return ErosionRow(name, len(point.concepts), drift=drift)
    newest = [_left(each) for each in found.targets if each.concept in new]
    earlier = [_left(each) for each in found.targets if each.concept not in new]
    kept = [value for value in (found.ira_worst, found.cra_worst) if value is not None]
    return ErosionRow(
        name,
        len(point.concepts),
        fmean(newest) if newest else None,
        fmean(earlier) if earlier else None,
        max(earlier, default=None),
        _percent(found.ira_of_base),
        _percent(found.cra_of_base),
        100 * min(kept) if kept else None,
        fid=found.fid_base.value if found.fid_base else None,
        drift=drift,
    )


def _left(shares: ConceptShares) -> float:
    return 100 * (shares.edited - (shares.neutral or 0.0))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _points(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.1f}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"
