"""Tables of a benchmark folder, from its cells alone.

`results.csv` has every cell, `results.md` a row per method, `collateral.csv` what erasing each concept did to every other one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from excise.figures import Figure
from excise.files import write_text
from excise.report import collateral_table, method_table
from excise.report.result_table import NOT_MEASURED, UNITS
from excise.results.cell import Cell, CellInformation
from excise.results.cells import stored_cells

Read = Callable[[Cell], Figure | float | None]


def _of_pictures(name: str) -> Read:
    return lambda cell: getattr(cell.evaluation, name) if cell.evaluation else None


def _of_words(read: Callable[[CellInformation], Figure | None]) -> Read:
    return lambda cell: read(cell.information) if cell.information else None


def _of_gold(name: str) -> Read:
    return lambda cell: getattr(cell.evaluation.gold, name) if cell.evaluation and cell.evaluation.gold else None


PICTURES = (
    "erased", "neutral", "ua", "ira", "cra", "nra", "ora", "ira_of_base", "cra_of_base", "ira_worst", "cra_worst", "fid_base",
    "kid_base", "pixel_change", "lpips", "fid_real", "kid_real", "clip_score", "bystanders", "bystanders_of_base", "bystander_change",
)  # fmt: skip
BYSTANDERS = ("bystanders", "bystanders_of_base", "bystander_change")
"""Columns that a table has if one of its cells has the figures: those of earlier grids stay as they are."""

FIGURES: dict[str, Read] = {
    **{name: _of_pictures(name) for name in PICTURES},
    "nats_base": _of_words(lambda words: words.nats.base),
    "nats_left": _of_words(lambda words: words.nats.left),
    "nats_share_left": _of_words(lambda words: words.nats.share_left),
    "steering": _of_words(lambda words: words.steering),
    "destruction": _of_words(lambda words: words.destruction),
    "nats_kept": _of_words(lambda words: words.kept.mean if words.kept else None),
    "nats_kept_worst": _of_words(lambda words: words.kept.worst if words.kept else None),
    **{f"gold_{name}": _of_gold(name) for name in ("target", "kept", "fid", "nats")},
    "seconds": lambda cell: cell.seconds,
    "peak_mb": lambda cell: cell.peak_mb,
    "edit_mb": lambda cell: cell.edit_mb,
}
"""Figures by their columns in `results.csv`, and where they stand in a cell; None where they were not measured."""

INTERVALS = (
    "ua", "neutral", "ira", "cra", "nra", "ora", "fid_base", "kid_base", "pixel_change", "nats_base", "nats_left", "nats_share_left",
    "steering", "destruction", "nats_kept", "nats_kept_worst", "gold_fid", "bystanders", "bystander_change",
)  # fmt: skip
"""Figures whose intervals are columns of `results.csv` as well."""

CAVEAT = (
    "Means over cells; worst columns are of the worst cell. UA, IRA, CRA, the change of pixels, nats left and nats kept in per cent; "
    "FID and KID (x 1000) of the kept concepts' pictures to the base model's own, on the classifier's features: compare them only inside "
    "one table, at the same number of pictures. Nats left: what the erased words still tell about the picture, of what they told before; "
    "nats kept: the same of the other words. Steering: 1 as before, 0 ignored, negative: the model does the opposite. "
    "FID to retrained: over the concepts for which a model was trained from scratch without them."
)

CAVEAT_OF_BYSTANDERS = (
    "Bystanders are things that no method was told of: how many of their pictures are recognised, of the base model's, in per cent; and how "
    "far those pictures moved, of how far pictures of different things are apart (0: not at all)."
)


def read_cells(out: Path) -> list[Cell]:
    """Every cell of a benchmark folder, in the order of their paths."""
    return method_table.beside_retrained(stored_cells(out).values())


def write_tables(out: Path) -> None:
    """Write `results.csv`, `results.md` and `collateral.csv`."""
    cells = read_cells(out)
    write_text(out / "results.csv", _csv(cells))
    write_text(out / "results.md", markdown(cells))
    write_text(out / "collateral.csv", collateral_table.to_csv(cells))


def markdown(cells: Sequence[Cell]) -> str:
    """A table per kind of concept and one over all: a row per method, means over cells; worst columns are the smallest of any cell."""
    kinds = sorted({method_table.kind(cell) for cell in cells})
    groups = [(kind, [cell for cell in cells if method_table.kind(cell) == kind]) for kind in kinds]
    if len(kinds) > 1:
        groups.insert(0, ("all", list(cells)))
    caveat = f"{CAVEAT} {CAVEAT_OF_BYSTANDERS}" if _have_bystanders(cells) else CAVEAT
    return "\n\n".join([*(f"### {title}\n\n{_table(group)}" for title, group in groups), caveat]) + "\n"


_COLUMNS = (
    "method", "cells", "erased − neutral (points)", "UA", "IRA of base", "CRA of base", "worst IRA", "worst CRA", "FID", "KID",
    "pixels", "nats left", "steering", "destruction", "nats kept", "worst nats kept", "FID to retrained", "seconds",
)  # fmt: skip


def _have_bystanders(cells: Sequence[Cell]) -> bool:
    return any(value(cell, "bystanders") is not None for cell in cells)


def _table(cells: Sequence[Cell]) -> str:
    beside = _have_bystanders(cells)
    columns = (*_COLUMNS, "bystanders of base", "bystanders' change") if beside else _COLUMNS
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for entrant in dict.fromkeys(cell.entrant for cell in cells):
        rows.append(f"| {' | '.join(_row(entrant, [cell for cell in cells if cell.entrant == entrant], beside))} |")
    return "\n".join(rows)


def _row(entrant: str, own: Sequence[Cell], beside: bool) -> list[str]:
    good = [cell for cell in own if not cell.error]
    failed = f" ({len(own) - len(good)} failed)" if len(good) < len(own) else ""
    left = _mean(
        cell.evaluation.erased - cell.evaluation.neutral.value for cell in good if cell.evaluation and cell.evaluation.neutral
    )

    def mean(name: str, unit: float, digits: int) -> str:
        return _shown(_mean(value(cell, name) for cell in good), unit, digits)

    def worst(name: str) -> str:
        return _shown(min((found for cell in good if (found := value(cell, name)) is not None), default=None), 100, 1)

    return [
        entrant.replace("|", "\\|"),
        f"{len(good)}{failed}",
        NOT_MEASURED if left is None else f"{100 * left:+.1f}",
        *(mean(name, 100, 1) for name in ("ua", "ira_of_base", "cra_of_base")),
        *(worst(name) for name in ("ira_worst", "cra_worst")),
        mean("fid_base", 1, 2),
        *(mean(name, UNITS[name], 1) for name in ("kid_base", "pixel_change")),
        mean("nats_share_left", 100, 1),
        *(mean(name, 1, 2) for name in ("steering", "destruction")),
        mean("nats_kept", 100, 1),
        worst("nats_kept_worst"),
        mean("gold_fid", 1, 1),
        mean("seconds", 1, 0),
        *([mean("bystanders_of_base", 100, 1), mean("bystander_change", 1, 3)] if beside else []),
    ]


def value(cell: Cell, name: str) -> float | None:
    """A figure of `FIGURES` without its interval."""
    found = FIGURES[name](cell)
    return found.value if isinstance(found, Figure) else found


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what was measured; None if nothing was."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _shown(value: float | None, unit: float, digits: int) -> str:
    return NOT_MEASURED if value is None else f"{unit * value:.{digits}f}"


def _csv(cells: Sequence[Cell]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    left_out = () if _have_bystanders(cells) else BYSTANDERS
    columns, spans = ([name for name in names if name not in left_out] for names in (FIGURES, INTERVALS))
    ends = [f"{name}_{end}" for name in spans for end in ("low", "high")]
    writer.writerow(["entrant", "concept", "seed", *columns, *ends, "n_target", "n_retained", "error"])
    for cell in cells:
        figures = ["" if (found := value(cell, name)) is None else found for name in columns]
        intervals = [end for name in spans for end in _ends(FIGURES[name](cell))]
        pictures = cell.evaluation and cell.evaluation.pictures
        counts = [pictures.target, pictures.retained] if pictures else ["", ""]
        writer.writerow([cell.entrant, cell.task, cell.seed, *figures, *intervals, *counts, cell.error or ""])
    return text.getvalue()


def _ends(found: Figure | float | None) -> tuple[float | str, float | str]:
    return (isinstance(found, Figure) and found.interval) or ("", "")
