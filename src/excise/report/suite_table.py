"""Results of suites side by side. What was not measured alike is marked: two such numbers are not to be ranked."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from excise.files import write_text
from excise.report.bench_table import read_cells
from excise.report.result_table import figure
from excise.results.cell import Cell
from excise.results.suite_result import SuiteResult

COMPARED = ("protocol", "prompts_hash", "n_images", "partial", "sampler", "rng", "image_format", "base_model", "scored_by")
"""What must be the same for two results to be comparable, beside the suite's settings."""

MARK = "†"


def read(path: Path) -> SuiteResult:
    """The result in a file, or in a folder. Raises FileNotFoundError or ValueError, by name, for what is none of a suite."""
    file = path / "result.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no such result of a suite: {file}")
    return SuiteResult.read(file)


def differences(result: SuiteResult, other: SuiteResult) -> list[str]:
    """What two results were not measured alike in, such as "rng" or "settings.steps"; the target that was erased may differ."""
    found = [name for name in COMPARED if getattr(result, name) != getattr(other, name)]
    one, two = result.settings, other.settings
    return found + [f"settings.{key}" for key in sorted({*one, *two} - {"target"}) if one.get(key) != two.get(key)]


def table(results: Mapping[str, SuiteResult]) -> tuple[list[str], list[tuple[str, ...]], list[str]]:
    """Columns, rows and notes for named results; rows that were not measured as the first was carry a mark.

    Raises ValueError for no results.
    """
    if not results:
        raise ValueError("give at least one result of a suite")
    reference = next(iter(results.values()))
    names = list(dict.fromkeys(n for result in results.values() for part in result.metrics.parts.values() for n in part))
    rows, notes = [], []
    for label, result in results.items():
        unlike = differences(result, reference)
        if unlike:
            notes.append(f"{MARK} {label}: not measured as the first row was ({', '.join(unlike)})")
        for part, figures in result.metrics.parts.items():
            cells = [figure(figures[name]) if name in figures else "" for name in names]
            rows.append((f"{label}{MARK if unlike else ''}", part, *cells))
    return ["result", "model", *names], rows, notes


def write_tables(out: Path) -> None:
    """`results.md` and `results.csv` of a benchmark whose cells a suite measured: base and edited model of every cell, and what failed."""
    cells = read_cells(out)
    good = {cell.about: cell.suite for cell in cells if cell.suite}
    text = "\n".join(_markdown(good)) if good else ""
    failed = [f"- {cell.about}: {cell.error}" for cell in cells if cell.error]
    write_text(out / "results.md", "\n\n".join(filter(None, [text, "\n".join(failed)])) + "\n")
    write_text(out / "results.csv", _csv(cells))


def _markdown(results: Mapping[str, SuiteResult]) -> list[str]:
    columns, rows, notes = table(results)
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines] + [f"\n{note}" for note in notes]


def _csv(cells: Sequence[Cell]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["entrant", "concept", "seed", "model", "figure", "value", "low", "high", "n", "error"])
    for cell in cells:
        about = [cell.entrant, cell.task, cell.seed]
        if cell.suite is None:
            writer.writerow([*about, *[""] * 6, cell.error])
            continue
        for part, figures in cell.suite.metrics.parts.items():
            for name, found in figures.items():
                ends = (found and found.interval) or ("", "")
                writer.writerow([*about, part, name, found.value if found else "", *ends, found.n if found else 0, ""])
    return text.getvalue()


def rows_of(results: Sequence[SuiteResult]) -> dict[str, SuiteResult]:
    """Results by a name: what was erased, by which method."""
    named: dict[str, SuiteResult] = {}
    for result in results:
        methods = "+".join(edit.name for edit in result.method or ()) or "base model"
        concepts = ", ".join(concept for edit in result.method or () for concept in edit.concepts)
        label = f"{methods} {concepts}".strip()
        number = sum(name == label or name.startswith(f"{label} #") for name in named)
        named[f"{label} #{number + 1}" if number else label] = result
    return named
