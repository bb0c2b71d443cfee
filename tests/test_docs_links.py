"""Links of the documentation lead somewhere, headings included; every page can be reached; every file that a text names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import links
import reference

TOP = links.TOP
PAGES = [path for path in sorted(links.DOCS.rglob("*.md")) if links.is_page(path)]
TEXTS = [*sorted(TOP.glob("*.md")), *PAGES]
HOME = links.DOCS / "index.md"


def text_of(path: Path) -> str:
    """A page as the site has it."""
    return reference.filled(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(TOP)))
def test_links_lead_somewhere(path: Path) -> None:
    text = text_of(path)
    broken = []
    for found in links.targets(text):
        to, anchor = links.leads_to(path, found["to"])
        if not to.is_file() or (anchor and to.suffix == ".md" and anchor not in links.anchors(text_of(to))):
            broken.append(found["to"])
    assert not broken


def test_every_page_is_in_a_table_of_contents() -> None:
    """From the first page on; a page that is in none cannot be reached on the site."""
    seen, todo = set[Path](), [HOME]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
                names = [line.strip() for line in block.splitlines() if line.strip() and not line.startswith(":")]
                todo += [links.leads_to(page, f"{name}.md")[0] for name in names]
    assert seen == set(PAGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[a](nowhere.md)", "nowhere.md"), ("[a](../src)", r"\.\./src"), ("<!-- from the code: nothing -->", "nothing")],
)
def test_what_is_not_there_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        links.for_site(HOME, reference.filled(text))


def test_links_on_the_site() -> None:
    """To pages as they are, to the top's files as pages, to other files as copies; code and addresses of the web are left alone."""
    page = links.DOCS / "research" / "benchmark.md"
    said = (
        "[a](mim/results.md#x) [b](../../SECURITY.md) [c](../benchmark/all/results.md) [d](#y) [e](https://e.org) `[f](g.md)`"
    )
    assert links.for_site(page, "![a](../canvas.png)") == "![a](../canvas.png)"
    assert links.for_site(page, said) == (
        "[a](mim/results.md#x) [b](../project/security.md) [c](path:../benchmark/all/results.md) [d](#y) [e](https://e.org) `[f](g.md)`"
    )
    shown = links.for_site(links.DOCS / "project" / "contributing.md", "<!-- the file CONTRIBUTING.md -->")
    assert "(../architecture.md)" in shown


def test_files_that_code_and_texts_name_are_there() -> None:
    """`docs/research/benchmark.md` in a docstring, a message or a text."""
    named = re.compile(r"\bdocs/(?!benchmark/)[\w./-]*\w")
    sources = [path for folder in ("src", "tests", "benchmarks", "torture") for path in (TOP / folder).rglob("*.py")]
    told = {(path, name) for path in (*sources, *TEXTS) for name in named.findall(path.read_text(encoding="utf-8"))}
    missing = {(str(path.relative_to(TOP)), name) for path, name in told if not (TOP / name).exists()}
    assert told and not missing
