"""Links of the documentation: to pages, to their headings, and to other files of the repository. A broken one is an error.

The same text is read in two places: as it lies in the repository, where every link is a path, and as a site. So links are written as paths, and
rewritten here for the site.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
TOP = DOCS.parent

SHOWN = {
    TOP / name: DOCS / "project" / f"{name.lower()}" for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "README.md")
}
"""Files at the top of the repository that are pages of the site, too: what stands there is a mark that `for_site` replaces."""

_MARK = re.compile(r"<!-- the file (\S+) -->")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+).+?\1", re.DOTALL)
_LINK = re.compile(r"(?P<picture>!?)\[[^\[\]]*\]\((?P<to>[^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def targets(text: str) -> Iterator[re.Match[str]]:
    """Where the links and pictures of a page lead (`to`) that are no addresses of the web; code is passed over."""
    for found in _LINK.finditer(_blank(text)):
        if not re.match(r"[a-z]+:", found["to"]):
            yield found


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in addresses, as GitHub and MyST do it.

    >>> sorted(anchors("# What *it* does\\n## `--set`, twice\\n"))
    ['--set-twice', 'what-it-does']
    """
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", words.replace("*", "").lower()).replace(" ", "-")
        numbered = (f"{name}-{number}" for number in range(1, 1000))
        found.add(name if name not in found else next(each for each in numbered if each not in found))
    return found


def is_page(path: Path) -> bool:
    """Whether a file is a page of the site."""
    return path.suffix == ".md" and path.is_relative_to(DOCS) and not path.is_relative_to(DOCS / "benchmark")


def leads_to(page: Path, target: str) -> tuple[Path, str]:
    """The file that a link of a page names, and the heading in it ("" for none)."""
    name, _, anchor = target.partition("#")
    return Path(os.path.normpath(page.parent / name)) if name else page, anchor


def for_site(page: Path, text: str) -> str:
    """The text of a page with links as the site has them: to pages, and to files that are handed out with it.

    Raises ValueError for a link to a file that there is not.
    """
    if mark := _MARK.search(text):
        shown = TOP / mark[1]
        return _rewritten(shown, page, shown.read_text(encoding="utf-8"))
    return _rewritten(page, page, text)


def _rewritten(page: Path, at: Path, text: str) -> str:
    """The text of a file with links as they are where it is shown."""
    parts, end = [], 0
    for found in targets(text):
        parts += [text[end : found.start("to")], _address(page, at, found["to"], picture=bool(found["picture"]))]
        end = found.end("to")
    return "".join([*parts, text[end:]])


def _address(page: Path, at: Path, target: str, *, picture: bool) -> str:
    path, anchor = leads_to(page, target)
    if path == page:
        return target
    if not path.is_file():
        raise ValueError(f"{page.relative_to(TOP)}: there is no file that the link {target} leads to")
    shown = SHOWN.get(path, path)
    relative = os.path.relpath(shown, at.parent)
    if not is_page(shown):
        return relative if picture else f"path:{relative}"
    return f"{relative}#{anchor}" if anchor else relative


def _blank(text: str) -> str:
    """The text with blanks in the place of code, as long as before."""
    for code in (_FENCE, _CODE):
        text = code.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return text
