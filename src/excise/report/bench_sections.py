"""A benchmark's section of the page: methods side by side, then by concept, pictures, and each method in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from excise.report import collateral_table, method_table, result_table
from excise.report.bench_columns import COLUMNS, Column, Number
from excise.report.bench_table import CAVEAT
from excise.report.folder_reader import BenchFolder
from excise.report.page_parts import (
    NOTHING,
    BenchParts,
    Drawer,
    EntrantParts,
    Heat,
    Picture,
    Section,
    Square,
    Table,
    picture,
    where,
)
from excise.results.cell import RETRAINED, Cell


def section(bench: BenchFolder, root: Path, draw: Drawer) -> Section:
    """All about one folder of `excise bench`."""
    from excise.report import plots

    cells = bench.cells
    entrants = list(dict.fromkeys(cell.entrant for cell in cells))
    concepts = list(dict.fromkeys(cell.task for cell in cells))
    model = bench.grid.model if bench.grid else cells[0].model
    groups = method_table.groups(cells)
    overview = draw(
        plots.overview(groups[0]),
        "overview",
        "What each method left of the concepts and what it kept of the others; the numbers are in the table of methods",
        "What is gone and what is kept belong together: either alone is easy. Lines are 95 % intervals.",
    )
    return Section(
        f"Benchmark on {model}",
        "benchmark",
        where(bench.path, root),
        [_counts(cells, entrants, concepts, model), *_leaders(groups[0])],
        overview,
        facts=_facts(bench),
        bench=BenchParts(
            groups,
            [_across(cells, entrants, concepts, *what) for what in ACROSS],
            _sheets(bench),
            [_entrant(name, [cell for cell in cells if cell.entrant == name], draw) for name in entrants],
            CAVEAT,
        ),
    )


def _facts(bench: BenchFolder) -> dict[str, object]:
    """What the folder's cells have in common, and what the first of them that says it says of how it was measured."""
    measured = next((cell for cell in bench.cells if cell.evaluation), None)
    first = measured or bench.cells[0]
    return {
        "in common": bench.grid.facts if bench.grid else {},
        "protocol": measured.evaluation.protocol.model_dump(exclude_none=True) if measured and measured.evaluation else None,
        "base_fingerprint": first.base_fingerprint,
        "versions": first.versions,
        "machine": first.machine,
    }


ACROSS = (("ua", "Gone: UA, per cent"), ("worst", "Kept: the other concept that lost most, per cent of the base model"))
"""Figures that are shown for every concept and method, and what they are called."""


def _counts(cells: Sequence[Cell], entrants: Sequence[str], concepts: Sequence[str], model: str) -> str:
    seeds = sorted({cell.seed for cell in cells})
    failed = sum(cell.error is not None for cell in cells)
    parts = ((cells, "erasure"), (entrants, "method"), (concepts, "concept"), (seeds, "seed"))
    erasures, *rest = (f"{len(each)} {what}{'s' * (len(each) != 1)}" for each, what in parts)
    return f"{erasures} from {model}: {', '.join(rest)}; {failed or 'none'} failed."


def _leaders(group: method_table.MethodGroup) -> list[str]:
    """Who removed most and who kept most, in words, of those with the most erasures; nothing where there is no choice."""
    rows = [row for row in group.rows if {"left", "worst"} <= row.numbers.keys() and row.name != RETRAINED]
    rows = [row for row in rows if row.erasures == max(other.erasures for other in rows)]
    if len(rows) < 2:
        return []
    gone = min(rows, key=lambda row: abs(row.numbers["left"].value))
    kept = max(rows, key=lambda row: row.numbers["worst"].value)
    left, worst = gone.numbers["left"], kept.numbers["worst"]
    return [
        f"Nearest to perfect removal: {gone.name}, {100 * left.value:+.1f} points from what is shown without the words.",
        f"Kept its worst concept best: {kept.name}, {100 * worst.value:.1f} % of the base model's accuracy ({worst.note}).",
    ]


def _across(cells: Sequence[Cell], entrants: Sequence[str], concepts: Sequence[str], key: str, name: str) -> Heat:
    """A line per concept, a column per method."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.task, cell.entrant), []).append(cell)
    rows = [(each, [_square(found.get((each, entrant), []), key) for entrant in entrants]) for each in concepts]
    return Heat(name, "erased", entrants, rows)


def _square(cells: Sequence[Cell], key: str) -> Square:
    number = method_table.mean([cell for cell in cells if not cell.error], key)
    if number is not None:
        return Square(number.value, f"{100 * number.value:.0f}", number.note)
    return Square(None, "failed" if cells else NOTHING, result_table.NOT_MEASURED)


def _sheets(bench: BenchFolder) -> list[tuple[str, list[Picture]]]:
    """By concept, the pictures of every method's first seed that has some."""
    found: dict[str, dict[str, Picture]] = {}
    for cell, path in zip(bench.cells, bench.pictures, strict=True):
        concept, name = cell.task, cell.entrant
        if path is not None and name not in found.setdefault(concept, {}):
            alt = f"{concept} erased by {name}: base model above, edited model below, same prompts and seeds"
            found[concept][name] = picture(path, alt, f"{name}, seed {cell.seed}")
    return [(concept, list(pictures.values())) for concept, pictures in found.items()]


def _entrant(name: str, cells: Sequence[Cell], draw: Drawer) -> EntrantParts:
    """All about one method: its erasures, its collateral matrix, its settings."""
    from excise.report import plots

    matrix = collateral_table.matrix(cells, name)
    if matrix.cells:
        draw(plots.collateral(matrix, name), f"collateral-{name}", "")
    good = [cell for cell in cells if not cell.error]
    columns = [column for column in COLUMNS if any(column.read(cell) for cell in good)]
    heads = ("concept", "seed", *(f"{column.head}{f', {column.unit}' if column.unit else ''}" for column in columns))
    rows = [(cell.task, str(cell.seed), *(_text(column, column.read(cell)) for column in columns)) for cell in good]
    return EntrantParts(
        name,
        len(cells),
        _profiles(name, good, draw),
        _heat(matrix, name) if matrix.cells else None,
        Table(f"Erasures by {name}", heads, rows),
        [f"{cell.task}, seed {cell.seed}: {cell.error}" for cell in cells if cell.error],
        cells[0].settings,
    )


def _profiles(name: str, cells: Sequence[Cell], draw: Drawer) -> list[Picture]:
    """Where, by noise level and in the picture, the erased words still say something; of the first seed of every concept."""
    from excise.report import plots

    first = {cell.task: cell for cell in reversed(cells)}
    profiles = [each for cell in reversed(first.values()) if cell.information for each in cell.information.profiles]
    curves, maps = (f"{what}-{name}" for what in ("curves", "maps"))
    return [
        *draw(plots.curves(profiles), curves, f"Nats by noise level, before and after {name}, for each erased concept"),
        *draw(plots.maps(profiles), maps, f"Where in the picture the words say something, before and after {name}"),
    ]


def _heat(matrix: collateral_table.Matrix, name: str) -> Heat:
    rows = [(erased, [_kept(matrix, erased, label) for label in matrix.concepts]) for erased in matrix.erased]
    title = f"What erasing each concept left of every other: per cent of the base model's accuracy, {name}"
    return Heat(title, "erased", matrix.concepts, rows)


def _kept(matrix: collateral_table.Matrix, erased: str, label: str) -> Square:
    damage = matrix.cells.get((erased, label))
    if damage is None:
        return Square(None, NOTHING, result_table.NOT_MEASURED)
    before, after = (f"{100 * share:.0f} %" for share in (damage.base, damage.edited))
    hint = f"{label}: shown in {before} of {damage.n} pictures before, {after} after erasing {erased}"
    text = NOTHING if damage.kept is None else f"{100 * damage.kept:.0f}"
    return Square(damage.kept, text, hint, damage.target)


def _text(column: Column, number: Number | None) -> str:
    if number is None:
        return NOTHING
    ends = "" if number.ends is None else f" ({column.text(number.ends[0])}–{column.text(number.ends[1])})"
    note = number.note.partition(", erasing ")[0]
    return f"{column.text(number.value)}{ends}{f' {note}' if note else ''}"
