"""A report page as it is parsed, for tests."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a browser would make of a page, as the standard library's parser sees it.

    tags    (name, attributes) of every element
    scripts text of every script
    source  all of it, as it is written
    rows    cells of every table row: (header or not, text, attributes)
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[tuple[str, dict[str, str]]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.inside: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(("", found))
        if tag == "script":
            self.scripts.append("")
        if tag in ("td", "th", "script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        where = self.inside[-1] if self.inside else ""
        if where == "script":
            self.scripts[-1] += data
        elif where != "style":
            self.text += data
        if where in ("td", "th"):
            text, found = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data, found)

    def row(self, name: str) -> list[str]:
        """The texts of the first row that begins with a name."""
        return next([text for text, _ in row] for row in self.rows if row and row[0][0].startswith(name))

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [found for name, found in self.tags if name == tag]
