"""`report.html`: one page that needs no other file, from what a folder holds."""

from __future__ import annotations

import base64
from pathlib import Path

from excise.digests import digest_text
from excise.files import open_regular, real_path, write_text
from excise.report import bench_sections, glossary, removal_section, result_sections
from excise.report.folder_reader import FolderContents
from excise.report.page_parts import Drawer, Section, sorting
from excise.versions import own_version

NAME = "report.html"
"""What the page in a folder is called if nobody says."""

GENERATOR = '<meta name="generator" content="excise'
"""What every page has at its head: a file without it is not ours to replace."""


def build(found: FolderContents, out: Path) -> Path:
    """Write the page of a folder, and its figures as PNG and SVG to `NAME-figures` beside the page; returns the page's path.

    Raises what `check_page` does.
    """
    check_page(out)
    there = out.exists()
    write_text(out, render(found, out.with_name(f"{out.stem}-figures")), overwrite=there)
    return out


def render(found: FolderContents, figures: Path) -> str:
    """The page's text; its figures are written to a folder as well."""
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    home = files("excise.report")
    template, style, script = (home.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html.j2", "css", "js"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"sorting": sorting, "explained": glossary.explained, "meaning": glossary.meaning}
    environment.tests["listing"] = lambda value: isinstance(value, list | tuple)
    return environment.from_string(template).render(
        title=real_path(found.root).name,
        version=own_version(),
        sections=_sections(found, Drawer(figures)),
        words=glossary.WORDS,
        style=Markup(style),
        script=Markup(script),
        allowed=base64.b64encode(bytes.fromhex(digest_text(script))).decode(),
    )


def _sections(found: FolderContents, draw: Drawer) -> list[Section]:
    return [
        *(bench_sections.section(bench, found.root, draw) for bench in found.benches),
        *(removal_section.removals(each, path, found.root, draw) for path, each in found.queues.items()),
        *(result_sections.erasure(each, found.root) for each in found.erasures),
        *(result_sections.audit(each, found.root) for each in found.audits),
        *(result_sections.measurement(each, path, found.root, draw) for path, each in found.measurements.items()),
        *(result_sections.variation(each, path, found.root) for path, each in found.variations.items()),
        *(result_sections.student(each, path, found.root) for path, each in found.students.items()),
        *(result_sections.upscaled(each, path, found.root) for path, each in found.upscaled.items()),
        *([result_sections.protocols(found.suites, found.root)] if found.suites else []),
    ]


def check_page(out: Path) -> None:
    """Raise ValueError if a page cannot be called so, FileExistsError if something else than such a page is there."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{out} should end in .html")
    if out.is_dir() or (out.exists() and not _is_page(out)):
        raise FileExistsError(f"{out} exists and is no report that could be replaced; choose another path")


def _is_page(out: Path) -> bool:
    with open_regular(out) as file:
        return GENERATOR.encode() in file.read(2000)
