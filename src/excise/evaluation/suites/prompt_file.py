"""Prompt files: CSV as the published suites write them. No torch here."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from excise import bounds
from excise.files import at_home, read_text
from excise.quoting import cut, quoted

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "adv_prompt", "caption", "text"),
    "seed": ("evaluation_seed", "sd_seed", "seed"),
    "guidance": ("evaluation_guidance", "sd_guidance_scale", "guidance_scale", "guidance"),
    "width": ("sd_image_width", "width"),
    "height": ("sd_image_height", "height"),
    "case": ("case_number", "image_id", "coco_id", "id"),
}
"""What a column means -> the names it has in published files, the most specific first."""

_KNOWN = {name for names in COLUMNS.values() for name in names}
_LONGEST = 40
"""Characters of a column's name that may mean a known one: comparing takes the product of two lengths."""

_NUMBERS = ("seed", "guidance", "width", "height")
"""Meanings of which a column says it by the word alone, as `random_seed` does; `prompt_toxicity` is no prompt."""


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
    """The rows of a CSV file in UTF-8 with a header, which needs a column of prompts.

    A file may have no column of seeds (`to_items` then counts them up), guidance, width, height (the sampler's own are taken) or cases (the
    rows are numbered). A column of seeds has one in every row; guidance, width and height may be empty in some. Other columns are left in
    `other`.

    Raises FileNotFoundError if it is not there; ValueError that names the line for another encoding, broken quotes, a row with more or fewer
    cells than columns, two columns of one name, a column whose name is nearly a known one, an empty prompt or seed, or a number that is
    none; and for a file without prompts.
    """
    path = at_home(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file of prompts: {path}")
    table = _table(path)
    if not table:
        raise ValueError(f"{path} is empty: expected a line of column names, such as prompt,evaluation_seed")
    line, names = table[0]
    columns = _columns(f"{path}, line {line}", names)
    if columns["prompt"] is None:
        raise ValueError(
            f"{path} has no column of prompts: expected one of {', '.join(COLUMNS['prompt'])}; found {cut(', '.join(names))}"
        )
    if len(table) == 1:
        raise ValueError(f"{path} has a header but no prompts")
    return [_row(f"{path}, line {line}", line, dict(zip(names, cells, strict=True)), columns) for line, cells in table[1:]]


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, the header first, each with the line that it ends on. Raises ValueError unless all are of one length."""
    reader, table = csv.reader(io.StringIO(read_text(path), newline=""), strict=True), []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            table.append((reader.line_num, cells))
            if len(table) > bounds.PICTURES + 1 or len(cells) > bounds.COLUMNS:
                raise ValueError(f"{path} has more than {bounds.PICTURES} prompts or {bounds.COLUMNS} columns; split it")
            if len(cells) != len(table[0][1]):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, but {len(table[0][1])} columns; "
                    "a prompt with a comma needs quotes around it"
                )
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: {error}; are quotes closed, and those inside a cell doubled?"
        ) from None
    return table


def _columns(where: str, names: Sequence[str]) -> dict[str, str | None]:
    """Meaning -> the column that has it. Raises ValueError for two columns of one name, or one whose name is nearly what was looked for."""
    name, times = Counter(filter(None, names)).most_common(1)[0] if any(names) else ("", 0)
    if times > 1:
        raise ValueError(f"{where}: two columns are called {cut(name)}; leave one")
    columns = {meaning: next((name for name in known if name in names), None) for meaning, known in COLUMNS.items()}
    for meaning, found in columns.items():
        known = COLUMNS[meaning]
        sought = known if found is None else known[: known.index(found)]  # what comes after would not have been taken
        for name in names:
            like = None if name in _KNOWN else _like(name, meaning, sought)
            if like is not None:
                raise ValueError(
                    f"{where}: the column {quoted(name)} is none of those that give {meaning}: {', '.join(known)}; did you mean {like!r}?"
                )
    return columns


def _like(name: str, meaning: str, sought: Sequence[str]) -> str | None:
    """Which of the names looked for a column's name looks like; None of none."""
    plain = re.sub(r"[\W_]+", "_", name[: _LONGEST + 1].lower()).strip("_")
    if len(plain) > _LONGEST:
        return None
    near = difflib.get_close_matches(plain, sought, n=1, cutoff=0.8 if len(plain) > 3 else 1.0)
    if near:
        return near[0]
    return meaning if meaning in _NUMBERS and meaning in sought and meaning in plain.split("_") else None


def to_items(
    rows: Sequence[PromptRow], *, prefix: str = "", steps: int | None = None, size: int | None = None, seed: int = 0
) -> list[PromptItem]:
    """A picture per row, named by its number.

    steps, size  where the file does not say; None leaves them to the model
    seed         of the first row where the file has no column of seeds; the next ones count up
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


def _row(where: str, line: int, record: Mapping[str, str], columns: Mapping[str, str | None]) -> PromptRow:
    def cell(meaning: str) -> str | None:
        name = columns[meaning]
        return record[name].strip() or None if name is not None else None

    def number(meaning: str) -> float | None:
        value = cell(meaning)
        if value is None:
            return None
        try:
            found = int(value) if re.fullmatch(r"[+-]?\d{1,19}", value) else float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise ValueError(f"{where}: {columns[meaning]} is {quoted(value)}, not a number")
        if found < 0:
            raise ValueError(f"{where}: {columns[meaning]} is {cut(value)}, not a number of at least 0")
        return found

    def whole(meaning: str, low: int, high: int) -> int | None:
        value = number(meaning)
        if value is not None and not (value == int(value) and low <= value < high):
            raise ValueError(f"{where}: {columns[meaning]} is {value:g}, not a whole number in {low}..{high - 1}")
        return None if value is None else int(value)

    prompt, seed, guidance = cell("prompt"), whole("seed", 0, 2**63), number("guidance")
    if len(prompt or "") > bounds.CHARACTERS:
        raise ValueError(f"{where}: the prompt has more than {bounds.CHARACTERS} characters")
    if guidance is not None and guidance > bounds.STRENGTH:
        raise ValueError(f"{where}: {columns['guidance']} is {guidance:g}, more than {bounds.STRENGTH}")
    if prompt is None:
        raise ValueError(f"{where}: the prompt is empty")
    if seed is None and columns["seed"] is not None:
        raise ValueError(f"{where}: {columns['seed']} is empty; fill it in every line, or leave the column out")
    known = set(columns.values())
    other = {name: value for name, value in record.items() if name not in known}
    return PromptRow(
        line, prompt, seed, None if guidance is None else float(guidance), whole("width", 1, bounds.EDGE + 1),
        whole("height", 1, bounds.EDGE + 1),
        cell("case"), other,
    )  # fmt: skip
