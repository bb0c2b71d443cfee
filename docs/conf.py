"""The site: `make docs` builds it. Pages are Markdown; the reference is made of the code at that moment (`site/reference.py`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "site"))

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger

import excise
import links
import reference
from docstrings import as_rest

LOG = getLogger(__name__)

project = "excise"
author = copyright = "The excise developers"
version = release = excise.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["benchmark/**"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a file of the top of the repository begins where it likes
highlight_language = "none"
smartquotes = False  # "--" is an option

nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", ".*")
]  # types in signatures: other projects' pages are not asked, and not all of ours have an entry
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
default_role = "code"

html_theme = "furo"
html_title = f"excise {version}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["site/static"]
html_css_files = ["site.css"]


def _read(app: Any, name: str, content: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    try:
        content[0] = links.for_site(page, reference.filled(content[0]))
    except ValueError as error:
        LOG.warning(str(error))


def _docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rest(lines)


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def _block(writer: Any, node: Any) -> None:
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise SkipNode


def setup(app: Any) -> None:
    """Links and reference when a page is read; docstrings as the house writes them; formulas as MathML, which needs no script."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
