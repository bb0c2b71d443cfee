"""The tables of README and docs say what the committed files say: each is what the command above it prints."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = 7
"""More are in the CSV or JSON files; a table that is wider is not read."""
COMMANDS = [
    (str(page.relative_to(DOCS.parent)), line.strip())
    for page in [DOCS.parent / "README.md", *sorted(DOCS.glob("research/**/*.md"))]
    for line in page.read_text(encoding="utf-8").splitlines()
    if line.startswith("    python benchmarks/")
]


def test_they_are_found() -> None:
    there = {page for page, _ in COMMANDS}
    assert {"README.md", *(f"docs/research/{name}.md" for name in ("audit/results", "mim/results", "benchmark"))} <= there


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_table_is_what_its_command_prints(page: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    lines = (DOCS.parent / page).read_text(encoding="utf-8").splitlines()
    monkeypatch.chdir(DOCS.parent)
    monkeypatch.setattr("sys.argv", command.split()[1:])
    runpy.run_path(command.split()[1], run_name="__main__")
    printed = capsys.readouterr().out.strip().splitlines()
    start = lines.index(printed[0], next(i for i, line in enumerate(lines) if command in line))
    assert [*lines, ""][start : start + len(printed) + 1] == [*printed, ""]
    assert max(line.count("|") for line in printed) <= 1 + COLUMNS


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
