"""The section of the page about a queue of removals: its requests, the erosion curve, and what it rests on."""

from __future__ import annotations

from pathlib import Path

from excise.report import erosion_table, plots
from excise.report.page_parts import Drawer, Section, Table, sentence, where
from excise.results.removal_ledger import RemovalLedger


def removals(found: RemovalLedger, path: Path, root: Path, draw: Drawer) -> Section:
    """A queue's result."""
    rows = erosion_table.rows(found.points)
    pictures = draw(
        plots.erosion({found.strategy: rows}),
        "erosion",
        "The erosion curve: what every removal left and kept, one after the other",
        "From left to right in the order in which it was measured.",
    )
    measured = {point.evaluation.pictures.target for point in found.points if point.evaluation}
    notes = [erosion_table.NOTE] if measured else ["Not measured: no classifier, or no evaluation was asked for."]
    return Section(
        f"Removals from {found.model}",
        "queue",
        where(path, root),
        [sentence(line) for line in erosion_table.lines(found)],
        pictures,
        [
            Table("Requests", erosion_table.REQUESTS, erosion_table.requests(found)),
            Table("Erosion", erosion_table.COLUMNS, erosion_table.table(found.points)),
        ],
        notes,
        found.model_dump(mode="json", exclude={"format", "kind", "written", "points", "records"}),
    )
