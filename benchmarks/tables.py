"""Write every table of README and docs anew from the committed files (`make tables`).

    python benchmarks/tables.py            # rewrites the pages; prints those that changed
    python benchmarks/tables.py --check    # rewrites nothing; exit code 1 if a page would change

A table stands below the command that prints it, an indented line that begins with "python benchmarks/". No measurement is made: commands read
what is in docs/benchmark. What measures, and how long that takes, is on docs/benchmark/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "    python benchmarks/"


def pages() -> list[Path]:
    """Those that have such tables."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/research/**/*.md"))]


def commands(text: str) -> list[str]:
    """The commands of a page, in order, without indentation."""
    return [line.strip() for line in text.splitlines() if line.startswith(COMMAND)]


def printed(command: str) -> list[str]:
    """The lines that a command prints, from the first that is not empty to the last."""
    words, said = command.split()[1:], io.StringIO()
    with contextlib.chdir(ROOT), patch.object(sys, "argv", words), contextlib.redirect_stdout(said):
        runpy.run_path(words[0], run_name="__main__")
    return said.getvalue().strip().splitlines()


def place(lines: list[str], command: str, printed: list[str]) -> slice:
    """Where what a command prints stands: from the first line of a table below it, as many blocks of lines as that has.

    Raises ValueError if there is no table.
    """
    after = next(number for number, line in enumerate(lines) if line.strip() == command)
    start = next((number for number, line in enumerate(lines) if number > after and line.startswith("|")), None)
    if start is None:
        raise ValueError(f"no table stands below: {command}")
    end = start
    for _ in range(1 + sum(not line.strip() for line in printed)):
        while end < len(lines) and not lines[end].strip():
            end += 1
        while end < len(lines) and lines[end].strip():
            end += 1
    return slice(start, end)


def renewed(text: str) -> str:
    """The page with every table as its command prints it today."""
    lines = text.splitlines()
    for command in commands(text):
        new = printed(command)
        lines[place(lines, command, new)] = new
    return "\n".join(lines) + "\n"


def changed() -> Iterator[tuple[Path, str]]:
    """Pages that are not as their commands print them, and how they should be."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            yield page, new


def main() -> None:
    parser = argparse.ArgumentParser(description="Write every table of README and docs anew from the committed files.")
    parser.add_argument("--check", action="store_true", help="rewrite nothing; exit code 1 if a page would change")
    options = parser.parse_args()
    stale = False
    for page, text in changed():
        stale = True
        print(page.relative_to(ROOT))
        if not options.check:
            page.write_text(text, encoding="utf-8")
    if options.check and stale:
        sys.exit(1)


if __name__ == "__main__":
    main()
