"""Prompt files: CSV as the published suites write them. No torch here."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "adv_prompt", "caption", "text"),
    "seed": ("evaluation_seed", "sd_seed", "seed"),
    "guidance": ("evaluation_guidance", "sd_guidance_scale", "guidance_scale", "guidance"),
    "width": ("sd_image_width", "width"),
    "height": ("sd_image_height", "height"),
    "case": ("case_number", "image_id", "coco_id", "id"),
}
"""What a column means -> the names it has in published files, the most specific first."""


@dataclass(frozen=True)
class PromptItem:
    """One picture of an answer set.

    id            names its file; distinct within a set
    guidance      of the sampler, 1 or less = off; None is the model's default, and so for steps, width and height (pixels)
    tags          what the suite must know to score it
    """

    id: str
    prompt: str
    seed: int
    guidance: float | None = None
    steps: int | None = None
    width: int | None = None
    height: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptRow:
    """A row of a prompt file; `line` is its line in the file, `other` what else it says, by column."""

    line: int
    prompt: str
    seed: int | None
    guidance: float | None
    width: int | None
    height: int | None
    case: str | None
    other: Mapping[str, str]


def read_prompts(path: str | Path) -> list[PromptRow]:
    """The rows of a CSV file with a header.

    Raises FileNotFoundError if it is not there, ValueError with the line for a file without prompts, an empty prompt, or a number that
    is none.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no such file of prompts: {path}")
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        names = [name for name in reader.fieldnames or () if name is not None]
        columns = {meaning: next((name for name in known if name in names), None) for meaning, known in COLUMNS.items()}
        if columns["prompt"] is None:
            raise ValueError(
                f"{path} has no column of prompts: expected one of {', '.join(COLUMNS['prompt'])}; found {', '.join(names)}"
            )
        rows = [_row(path, reader.line_num, record, columns) for record in reader]
    if not rows:
        raise ValueError(f"{path} has a header but no prompts")
    return rows


def to_items(
    rows: Sequence[PromptRow], *, prefix: str = "", steps: int | None = None, size: int | None = None, seed: int = 0
) -> list[PromptItem]:
    """A picture per row, named by its number.

    steps, size  where the file does not say; None leaves them to the model
    seed         of the first row where the file has no seeds; the next ones count up
    """
    return [
        PromptItem(
            f"{prefix}{number:05d}",
            row.prompt,
            seed + number if row.seed is None else row.seed,
            row.guidance,
            steps,
            row.width or size,
            row.height or size,
            {"case": row.case or str(number)},
        )
        for number, row in enumerate(rows)
    ]


def _row(path: Path, line: int, record: Mapping[str | None, str | None], columns: Mapping[str, str | None]) -> PromptRow:
    def cell(meaning: str) -> str | None:
        name = columns[meaning]
        value = record.get(name) if name is not None else None
        return value.strip() or None if value is not None else None

    def number(meaning: str) -> float | None:
        value = cell(meaning)
        if value is None:
            return None
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise ValueError(f"{path}, line {line}: {columns[meaning]} is {value!r}, not a number")
        return found

    def whole(meaning: str, low: int, high: int) -> int | None:
        value = number(meaning)
        if value is not None and not (value == int(value) and low <= value < high):
            raise ValueError(f"{path}, line {line}: {columns[meaning]} is {value:g}, not a whole number in {low}..{high - 1}")
        return None if value is None else int(value)

    prompt = cell("prompt")
    if prompt is None:
        raise ValueError(f"{path}, line {line}: the prompt is empty")
    known = set(columns.values())
    other = {name: value for name, value in record.items() if name is not None and name not in known and isinstance(value, str)}
    return PromptRow(
        line, prompt, whole("seed", 0, 2**63), number("guidance"), whole("width", 1, 2**16), whole("height", 1, 2**16),
        cell("case"), other,
    )  # fmt: skip
