"""The tables of README and docs say what the committed files say: each is what the command above it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

import tables

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = 7
"""More are in the CSV or JSON files; a table that is wider is not read."""
COMMANDS = [
    (str(page.relative_to(DOCS.parent)), command)
    for page in tables.pages()
    for command in tables.commands(page.read_text("utf-8"))
]
PAGE = """Prose.

    python benchmarks/x.py --show x.json

More prose.

| a | b |
|---|---|
| 1 | 2 |

| c |
|---|

The end.
"""


def test_they_are_found() -> None:
    there = {page for page, _ in COMMANDS}
    assert {"README.md", *(f"docs/research/{name}.md" for name in ("audit/results", "mim/results", "benchmark"))} <= there


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_table_is_what_its_command_prints(page: str, command: str) -> None:
    printed, lines = tables.printed(command), (DOCS.parent / page).read_text(encoding="utf-8").splitlines()
    assert lines[tables.place(lines, command, printed)] == printed
    assert max(line.count("|") for line in printed) <= 1 + COLUMNS


def test_a_stale_table_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is now, whatever its length was; what stands around it stays."""
    monkeypatch.setattr(tables, "printed", lambda command: ["| a |", "|---|", "| 3 |", "| 4 |", "", "| c |"])
    told = tables.renewed(PAGE)
    assert told == PAGE[: PAGE.index("| a |")] + "| a |\n|---|\n| 3 |\n| 4 |\n\n| c |\n\nThe end.\n"
    assert tables.renewed(told) == told


def test_a_command_without_a_table_is_told() -> None:
    with pytest.raises(ValueError, match="no table stands below: python benchmarks/x"):
        tables.place(PAGE[: PAGE.index("| a |")].splitlines(), "python benchmarks/x.py --show x.json", ["| a |"])


def test_no_table_is_broad() -> None:
    """Those of the reference are made when the site is built; results of runs are no pages."""
    pages = [page for page in DOCS.glob("**/*.md") if not page.is_relative_to(DOCS / "benchmark")]
    broad = [
        (str(page.relative_to(DOCS)), line)
        for page in pages
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("|--") and line.count("|") > 1 + COLUMNS
    ]
    assert not broad
