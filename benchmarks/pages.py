"""What the pages for people say in their blocks: README, docs/index.md, docs/start, docs/how-to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_WHERE_A_COMMAND_ENDS = {"|", "||", "&", "&&", ";", ">", "<"}


def pages() -> list[Path]:
    """README and the pages that tell people what to type."""
    docs = ROOT / "docs"
    return [ROOT / "README.md", docs / "index.md", *sorted(docs.glob("start/*.md")), *sorted(docs.glob("how-to/*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The texts of a page's blocks in a language, such as "console" or "python"."""
    return [text for _, kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> list[list[str]]:
    """What stands after `excise` in every line of a page's console blocks, up to where the shell takes over, without comments."""
    return [command for block in blocks(page, "console") for line in _lines(block) for command in _of_excise(line)]


def _lines(block: str) -> Iterator[str]:
    """Lines, those that end in a backslash with the next one."""
    yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())


def _of_excise(line: str) -> Iterator[list[str]]:
    """The commands of excise in a line of a shell.

    >>> list(_of_excise("RAY_ADDRESS=a:1 excise info out/cat && excise list models | less  # both"))
    [['info', 'out/cat'], ['list', 'models']]
    """
    lexer = shlex.shlex(line.replace(" 2>", " >"), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words = list(lexer)
    for place, word in enumerate(words):
        if word == "excise" and (place == 0 or words[place - 1] in _WHERE_A_COMMAND_ENDS or "=" in words[place - 1]):
            rest = words[place + 1 :]
            end = next((i for i, each in enumerate(rest) if each in _WHERE_A_COMMAND_ENDS), len(rest))
            yield rest[:end]
