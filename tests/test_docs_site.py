"""The site is built without a warning, asks no other host for anything, and every page can be reached from the first."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

TOP = Path(__file__).parents[1]
ASKED = {
    "link": "href",
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "form": "action",
}
"""What a browser fetches by itself, or sends something to."""


class Page(HTMLParser):
    """What a page fetches, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "a" and told.get("href"):
            self.links.append(told["href"])
        elif tag in ASKED and told.get(ASKED[tag]) and told.get("rel") != "canonical":
            self.fetched.append(told[ASKED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it."""
    out = tmp_path_factory.mktemp("site")
    words = next(line.split()[1:-1] for line in (TOP / "Makefile").read_text().splitlines() if "sphinx-build" in line)
    done = subprocess.run([sys.executable, "-m", "sphinx", *words, out], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_no_other_host_is_asked(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert not [each for each in Page(path.read_text(encoding="utf-8")).fetched if re.match(r"(\w+:)?//", each)], path
    for path in (*site.rglob("*.css"), *site.rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\([\"']?(\w+:)?//|fetch\([\"']http|XMLHttpRequest", text), path


def test_every_page_is_reached_from_the_first(site: Path) -> None:
    seen, todo = set[Path](), [site / "index.html"]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            for link in Page(path.read_text(encoding="utf-8")).links:
                to = (path.parent / unquote(urldefrag(link)[0])).resolve()
                if not re.match(r"\w+:", link) and to.suffix == ".html" and to.is_relative_to(site):
                    assert to.is_file(), (path, link)
                    todo.append(to)
    made_of_pages = {
        site / path.relative_to(TOP / "docs").with_suffix(".html")
        for path in TOP.glob("docs/**/*.md")
        if "benchmark" not in path.relative_to(TOP / "docs").parts[:1]
    }
    assert made_of_pages <= seen


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    text = (site / "research" / "mim" / "method.html").read_text(encoding="utf-8")
    assert text.count("<math") > 5 and "$" not in text


def test_the_reference_is_that_of_the_code(site: Path) -> None:
    from excise.cli.application import COMMANDS
    from excise.methods import methods

    commands, listed = ((site / "reference" / f"{name}.html").read_text(encoding="utf-8") for name in ("commands", "methods"))
    assert all(f"excise {name}" in commands for name in COMMANDS) and all(
        method.title in listed for method in methods().values()
    )
    assert 'id="excise.jobs.erase.erase"' in (site / "reference" / "api.html").read_text(encoding="utf-8")
