"""Tables of a benchmark folder, from its cell files alone: `results.csv` with every cell, `results.md` with a row per method."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from excise.files import write_text

FIGURES = (
    "erased", "neutral", "ua", "ira", "cra", "ira_of_base", "cra_of_base", "ira_worst", "cra_worst", "seconds", "edit_mb",
)  # fmt: skip


def read_cells(out: Path) -> list[dict[str, Any]]:
    """Every cell of a benchmark folder, in the order of their paths."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "cells").glob("*/*.json"))]


def write_tables(out: Path) -> None:
    """Write `results.csv` and `results.md`."""
    cells = read_cells(out)
    write_text(out / "results.csv", _csv(cells))
    write_text(out / "results.md", markdown(cells))


def markdown(cells: Sequence[dict[str, Any]]) -> str:
    """A table per kind of concept and one over all: a row per method, means over cells; worst columns are the smallest of any cell."""
    kinds = sorted({_kind(cell) for cell in cells})
    groups = [(kind, [cell for cell in cells if _kind(cell) == kind]) for kind in kinds]
    if len(kinds) > 1:
        groups.insert(0, ("all", list(cells)))
    return "\n\n".join(f"### {title}\n\n{_table(group)}" for title, group in groups) + "\n"


def _table(cells: Sequence[dict[str, Any]]) -> str:
    head = (
        "| method | cells | erased − neutral (points) | UA | IRA of base | CRA of base | worst IRA | worst CRA | seconds |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    rows = [head]
    for entrant in dict.fromkeys(cell["entrant"] for cell in cells):
        own = [cell for cell in cells if cell["entrant"] == entrant]
        good = [cell for cell in own if "error" not in cell]
        failed = f" ({len(own) - len(good)} failed)" if len(good) < len(own) else ""
        if not good:
            rows.append(f"| {entrant} | 0{failed} |" + " not measured |" * 7)
            continue

        def mean(name: str, good: Sequence[dict[str, Any]] = good) -> float:
            return sum(cell[name] for cell in good) / len(good)

        rows.append(
            f"| {entrant} | {len(good)}{failed} | {100 * (mean('erased') - mean('neutral')):+.1f} | {100 * mean('ua'):.1f} "
            f"| {100 * mean('ira_of_base'):.1f} | {100 * mean('cra_of_base'):.1f} "
            f"| {100 * min(cell['ira_worst'] for cell in good):.1f} | {100 * min(cell['cra_worst'] for cell in good):.1f} "
            f"| {mean('seconds'):.0f} |"
        )
    return "\n".join(rows)


def _csv(cells: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["entrant", "concept", "seed", *FIGURES, "error"])
    for cell in cells:
        figures = [cell.get(name, "") for name in FIGURES]
        writer.writerow([cell["entrant"], " ".join(cell["concepts"]), cell["seed"], *figures, cell.get("error", "")])
    return text.getvalue()


def _kind(cell: dict[str, Any]) -> str:
    return str(cell["concepts"][0]).split(":")[0]
