"""What a page is made of: sections with tables, heat maps and pictures that are inside the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from excise.digests import digest_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from excise.report.method_table import MethodGroup

NOTHING = "–"


@dataclass(frozen=True)
class Picture:
    """A picture inside the page; its address holds all of it."""

    address: str
    width: int
    height: int
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows of text, sortable; the first column names the row."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def words(self) -> set[int]:
        """Places of columns that hold words and no number."""
        return {place for place in range(1, len(self.columns)) if not any(sorting(row[place]) for row in self.rows)}


@dataclass(frozen=True)
class Square:
    """One place of a heat map: share 0–1, its text, what it is in words; framed if it is an erased concept's own."""

    share: float | None
    text: str
    hint: str = ""
    framed: bool = False


@dataclass(frozen=True)
class Heat:
    """A table whose cells are coloured by their number."""

    name: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Square]]]


@dataclass(frozen=True)
class EntrantParts:
    """One method of a benchmark in full; `cells` counts its erasures."""

    name: str
    cells: int
    pictures: Sequence[Picture]
    heat: Heat | None
    table: Table
    failures: Sequence[str]
    settings: Mapping[str, object]


@dataclass(frozen=True)
class BenchParts:
    """What only a benchmark has: methods side by side, heat maps over concepts, pictures by concept, each method in full."""

    groups: Sequence[MethodGroup]
    across: Sequence[Heat]
    sheets: Sequence[tuple[str, Sequence[Picture]]]
    entrants: Sequence[EntrantParts]
    caveat: str


@dataclass(frozen=True)
class Section:
    """One result: what it says in words, its tables and pictures, what limits it.

    where  its path inside the folder that is reported
    lead   all of it in one sentence; the pictures follow it at once, so that both are on the first screen
    facts  settings and fingerprints, folded away
    bench  what only a benchmark has
    """

    title: str
    kind: str
    where: str
    lines: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    bench: BenchParts | None = None
    lead: str = ""


class Drawer:
    """Saves figures to a folder, each under a name of its own, and gives them as pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()

    def __call__(self, figure: Figure | None, name: str, alt: str, caption: str = "") -> list[Picture]:
        """No picture if there is no figure."""
        from excise.report.plots import save

        if figure is None:
            return []
        path = save(figure, self.folder, self._unique(name))
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        return [Picture(_address("svg+xml", path.read_bytes()), width, height, alt, caption)]

    def _unique(self, name: str) -> str:
        """Letters that files can have, not too many, and no name twice; case counts as the same."""
        stem = re.sub(r"[^\w=.,+-]+", "_", name).strip("._") or "figure"
        if len(stem) > 60:
            stem = f"{stem[:50]}-{digest_text(name)[:6]}"
        unique, number = stem, 1
        while unique.casefold() in self.names:
            number += 1
            unique = f"{stem}-{number}"
        self.names.add(unique.casefold())
        return unique


def picture(path: Path, alt: str, caption: str = "") -> Picture:
    """A picture file as WebP, a fraction of a PNG's size. Raises ValueError if it cannot be read."""
    from excise.files.pictures import open_picture

    try:
        found = open_picture(path)
    except ValueError as error:
        raise ValueError(f"{error}; write it again, or remove it") from None
    packed = io.BytesIO()
    found.save(packed, "WEBP", quality=75)
    width, height = found.size
    return Picture(_address("webp", packed.getvalue()), width, height, alt, caption)


def sorting(text: str) -> str:
    """What a cell is sorted by: the number that it begins with; nothing where it begins with none.

    >>> sorting("97.5 % (94.0–99.0)"), sorting("−0.3"), sorting("+15.0"), sorting("not measured"), sorting("1e-3")
    ('97.5', '-0.3', '15.0', '', '1e-3')
    """
    found = re.match(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text.strip().removeprefix("+").replace("−", "-"))
    return found[0] if found else ""


def sentence(line: str) -> str:
    """A line with a capital and a full stop; names of concepts stay as they are.

    >>> sentence("none of 4 attacks"), sentence("object:cat: 3 prompts."), sentence("")
    ('None of 4 attacks.', 'object:cat: 3 prompts.', '')
    """
    named = ":" in line.partition(" ")[0].rstrip(":")
    line = line if named else line[:1].upper() + line[1:]
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."


def where(path: Path, root: Path) -> str:
    """A path as it is written below the folder that is reported; "" for that folder itself."""
    inside = path.relative_to(root)
    return "" if inside == Path() else inside.as_posix()


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
