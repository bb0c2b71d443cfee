"""Tables of a benchmark folder, from its cell files alone.

`results.csv` has every cell, `results.md` a row per method, `collateral_table.csv` what erasing each concept did to every other one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from excise.files import read_json, write_text
from excise.report import collateral_table, method_table
from excise.report.result_table import NOT_MEASURED, UNITS

FIGURES = (
    "erased", "neutral", "ua", "ira", "cra", "nra", "ora", "ira_of_base", "cra_of_base", "ira_worst", "cra_worst", "fid_base",
    "kid_base", "pixel_change", "lpips", "fid_real", "kid_real", "clip_score", "nats_base", "nats_left", "nats_share_left", "steering",
    "destruction", "nats_kept", "nats_kept_worst", "gold_target", "gold_kept", "gold_fid", "gold_nats", "seconds", "peak_mb", "edit_mb",
)  # fmt: skip
INTERVALS = (
    "ua", "neutral", "ira", "cra", "nra", "ora", "fid_base", "kid_base", "pixel_change", "nats_base", "nats_left", "nats_share_left",
    "steering", "destruction", "nats_kept", "nats_kept_worst", "gold_fid",
)  # fmt: skip
"""Figures whose intervals are columns of `results.csv` as well."""

INFORMATION = {
    "nats_base": "nats.base",
    "nats_left": "nats.left",
    "nats_share_left": "nats.share_left",
    "steering": "steering",
    "destruction": "destruction",
    "nats_kept": "kept.mean",
    "nats_kept_worst": "kept.worst",
}
"""Figures that stand under "information" in a cell, and where."""

CAVEAT = (
    "Means over cells; worst columns are of the worst cell. UA, IRA, CRA, the change of pixels, nats left and nats kept in per cent; "
    "FID and KID (x 1000) of the kept concepts' pictures to the base model's own, on the classifier's features: compare them only inside "
    "one table, at the same number of pictures. Nats left: what the erased words still tell about the picture, of what they told before; "
    "nats kept: the same of the other words. Steering: 1 as before, 0 ignored, negative: the model does the opposite. "
    "FID to retrained: over the concepts for which a model was trained from scratch without them."
)


def read_cells(out: Path) -> list[dict[str, Any]]:
    """Every cell of a benchmark folder, in the order of their paths."""
    return method_table.beside_retrained(read_json(path) for path in sorted((out / "cells").glob("*/*.json")))


def flat(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell with the figures of `INFORMATION`, and the distances to a gold standard, beside the others, as NAME and NAME_ci."""
    found = {**cell, **{f"gold_{name}": value for name, value in (cell.get("gold") or {}).items() if name != "base"}}
    for name, place in INFORMATION.items():
        estimate = cell.get("information")
        for key in place.split("."):
            estimate = (estimate or {}).get(key)
        if estimate is not None:
            found |= {name: estimate["value"], f"{name}_ci": [estimate["low"], estimate["high"]]}
    return found


def write_tables(out: Path) -> None:
    """Write `results.csv`, `results.md` and `collateral_table.csv`."""
    cells = [flat(cell) for cell in read_cells(out)]
    write_text(out / "results.csv", _csv(cells))
    write_text(out / "results.md", markdown(cells))
    write_text(out / "collateral.csv", collateral_table.to_csv(cells))


def markdown(cells: Sequence[dict[str, Any]]) -> str:
    """A table per kind of concept and one over all: a row per method, means over cells; worst columns are the smallest of any cell."""
    kinds = sorted({method_table.kind(cell) for cell in cells})
    groups = [(kind, [cell for cell in cells if method_table.kind(cell) == kind]) for kind in kinds]
    if len(kinds) > 1:
        groups.insert(0, ("all", list(cells)))
    return "\n\n".join([*(f"### {title}\n\n{_table(group)}" for title, group in groups), CAVEAT]) + "\n"


_COLUMNS = (
    "method", "cells", "erased − neutral (points)", "UA", "IRA of base", "CRA of base", "worst IRA", "worst CRA", "FID", "KID",
    "pixels", "nats left", "steering", "destruction", "nats kept", "worst nats kept", "FID to retrained", "seconds",
)  # fmt: skip


def _table(cells: Sequence[dict[str, Any]]) -> str:
    rows = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for entrant in dict.fromkeys(cell["entrant"] for cell in cells):
        own = [cell for cell in cells if cell["entrant"] == entrant]
        good = [cell for cell in own if "error" not in cell]
        failed = f" ({len(own) - len(good)} failed)" if len(good) < len(own) else ""
        left = _mean(cell["erased"] - cell["neutral"] for cell in good)
        shown = [
            f"{entrant}".replace("|", "\\|"),
            f"{len(good)}{failed}",
            NOT_MEASURED if left is None else f"{100 * left:+.1f}",
            *(_cell(_mean(cell.get(name) for cell in good), 100, 1) for name in ("ua", "ira_of_base", "cra_of_base")),
            *(_cell(_worst(cell.get(name) for cell in good), 100, 1) for name in ("ira_worst", "cra_worst")),
            _cell(_mean(cell.get("fid_base") for cell in good), 1, 2),
            *(_cell(_mean(cell.get(name) for cell in good), UNITS[name], 1) for name in ("kid_base", "pixel_change")),
            _cell(_mean(cell.get("nats_share_left") for cell in good), 100, 1),
            *(_cell(_mean(cell.get(name) for cell in good), 1, 2) for name in ("steering", "destruction")),
            _cell(_mean(cell.get("nats_kept") for cell in good), 100, 1),
            _cell(_worst(cell.get("nats_kept_worst") for cell in good), 100, 1),
            _cell(_mean(cell.get("gold_fid") for cell in good), 1, 1),
            _cell(_mean(cell.get("seconds") for cell in good), 1, 0),
        ]
        rows.append(f"| {' | '.join(shown)} |")
    return "\n".join(rows)


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what was measured; None if nothing was."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _worst(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _cell(value: float | None, unit: float, digits: int) -> str:
    return NOT_MEASURED if value is None else f"{unit * value:.{digits}f}"


def _csv(cells: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    ends = [f"{name}_{end}" for name in INTERVALS for end in ("low", "high")]
    writer.writerow(["entrant", "concept", "seed", *FIGURES, *ends, "n_target", "n_retained", "error"])
    for cell in cells:
        figures = [_blank(cell.get(name)) for name in FIGURES]
        intervals = [_blank(end) for name in INTERVALS for end in (cell.get(f"{name}_ci") or (None, None))]
        counts = [cell.get("n", {}).get(part, "") for part in ("target", "retained")]
        about = [cell["entrant"], method_table.concept_of(cell), cell["seed"]]
        writer.writerow([*about, *figures, *intervals, *counts, cell.get("error", "")])
    return text.getvalue()


def _blank(value: Any) -> Any:
    return "" if value is None else value
