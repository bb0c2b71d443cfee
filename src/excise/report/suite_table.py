"""Results of suites side by side. What was not measured alike is marked: two such numbers are not to be ranked."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from excise.files import read_json, write_text
from excise.report.method_table import concept_of
from excise.report.result_table import figure

COMPARED = ("protocol", "prompts_hash", "n_images", "partial", "sampler", "rng", "image_format", "base_model", "scored_by")
"""What must be the same for two results to be comparable, beside the suite's settings."""

MARK = "†"


def read(path: Path) -> dict[str, Any]:
    """The result in a file, or in a folder. Raises FileNotFoundError or ValueError, by name, for what is none of a suite."""
    file = path / "result.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no such result of a suite: {file}")
    result: dict[str, Any] = read_json(file)
    try:
        table({"": result}), rows_of([result])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not what excise suite run writes ({type(error).__name__}: {error})") from None
    return result


def differences(result: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What two results were not measured alike in; the target that was erased may differ.

    >>> differences({"protocol": "coco", "settings": {"steps": 50}}, {"protocol": "coco", "settings": {"steps": 20}})
    ['settings.steps']
    """
    found = [key for key in COMPARED if result.get(key) != other.get(key)]
    one, two = result.get("settings") or {}, other.get("settings") or {}
    return found + [f"settings.{key}" for key in sorted({*one, *two} - {"target"}) if one.get(key) != two.get(key)]


def table(results: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, ...]], list[str]]:
    """Columns, rows and notes for named results; rows that were not measured as the first was carry a mark.

    Raises ValueError for no results.
    """
    if not results:
        raise ValueError("give at least one result of a suite")
    reference = next(iter(results.values()))
    names = list(dict.fromkeys(n for result in results.values() for part in result["metrics"].values() for n in part))
    rows, notes = [], []
    for label, result in results.items():
        unlike = differences(result, reference)
        if unlike:
            notes.append(f"{MARK} {label}: not measured as the first row was ({', '.join(unlike)})")
        for part, figures in result["metrics"].items():
            cells = [_cell(figures.get(name)) for name in names]
            rows.append((f"{label}{MARK if unlike else ''}", part, *cells))
    return ["result", "model", *names], rows, notes


def _cell(found: Mapping[str, Any] | None) -> str:
    return figure(found["value"], found["ci95"]) if found else ""


def write_tables(out: Path) -> None:
    """`results.md` and `results.csv` of a benchmark whose cells a suite measured: base and edited model of every cell, and what failed."""
    cells = [read_json(path) for path in sorted((out / "cells").glob("*/*.json"))]
    good = {
        f"{cell['entrant']} {concept_of(cell)}, seed {cell['seed']}": cell["suite"] for cell in cells if "error" not in cell
    }
    text = "\n".join(_markdown(good)) if good else ""
    failed = [
        f"- {cell['entrant']} {concept_of(cell)}, seed {cell['seed']}: {cell['error']}" for cell in cells if "error" in cell
    ]
    write_text(out / "results.md", "\n\n".join(filter(None, [text, "\n".join(failed)])) + "\n")
    write_text(out / "results.csv", _csv(cells))


def _markdown(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns, rows, notes = table(results)
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines] + [f"\n{note}" for note in notes]


def _csv(cells: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["entrant", "concept", "seed", "model", "figure", "value", "low", "high", "n", "error"])
    for cell in cells:
        about = [cell["entrant"], concept_of(cell), cell["seed"]]
        if "error" in cell:
            writer.writerow([*about, *[""] * 6, cell["error"]])
            continue
        for part, figures in cell["suite"]["metrics"].items():
            for name, found in figures.items():
                writer.writerow([*about, part, name, found["value"], *(found["ci95"] or ("", "")), found["n"], ""])
    return text.getvalue()


def rows_of(results: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Results by a name: what was erased, by which method."""
    named: dict[str, Mapping[str, Any]] = {}
    for result in results:
        methods = "+".join(method["name"] for method in result.get("method") or []) or "base model"
        concepts = ", ".join(c for method in result.get("method") or [] for c in method["concepts"])
        label = f"{methods} {concepts}".strip()
        number = sum(name == label or name.startswith(f"{label} #") for name in named)
        named[f"{label} #{number + 1}" if number else label] = result
    return named
