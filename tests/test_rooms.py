"""The map of the package (docs/architecture.md): imports go downwards only, and no two files import each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import excise
from fast import FAST, is_fast

PACKAGE = Path(excise.__file__).parent
ROOMS = (
    "ground", "results", "concepts", "models", "edits", "erasure", "methods", "pruning", "restoration", "information", "evaluation", "attacks",
    "report", "requests", "jobs", "studio", "cli",
)  # fmt: skip
"""From the ground floor up; `canvas` makes the built-in model, stands beside `jobs`, and the command line alone knows it."""


def files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("excise", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports: at the top, inside functions, or for the type checker alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            inside = {f"{node.module}.{name.name}" for name in node.names} & known.keys()
            found |= inside
            if len(inside) < len(node.names):
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names} & known.keys()
    return found


def room(module: str) -> str:
    """The room of a module; "" for the front pages, which open all doors."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__main__":
        return ""
    return parts[1] if parts[1] in (*ROOMS, "canvas") else "ground"


def test_files_that_documents_name_are_there() -> None:
    """`methods/esd/erase.py` below the package, `tests/test_rooms.py` and the like from the top."""
    top = PACKAGE.parents[1]
    named = re.compile(r"`(?:src/excise/)?((?:\w+/)+\w+\.py)")
    documents = [*top.glob("*.md"), *top.glob("docs/**/*.md")]
    told = {(path.name, name) for path in documents for name in named.findall(path.read_text(encoding="utf-8"))}
    missing = sorted(pair for pair in told if not ((top / pair[1]).is_file() or (PACKAGE / pair[1]).is_file()))
    assert told and not [pair for pair in missing if "NAME" not in pair[1]]


def test_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= {*ROOMS, "canvas", "files"}


def test_imports_go_downwards() -> None:
    known = files()
    height = {name: number for number, name in enumerate(ROOMS)} | {"canvas": ROOMS.index("jobs")}
    wrong = [
        f"{module} imports {other}"
        for module, path in known.items()
        for other in imported(path, known)
        if room(module)
        and other != "excise"
        and (height[room(other)] > height[room(module)] or {room(other)} - {room(module)} == {"canvas"})
        if (room(module), room(other)) != ("cli", "canvas")
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_two_files_import_each_other() -> None:
    """Strongly connected files, by Tarjan's algorithm."""
    known = files()
    edges = {module: imported(path, known) - {"excise"} for module, path in known.items() if module != "excise"}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            circle, stack[at:] = stack[at:], []
            if len(circle) > 1 or module in edges[module]:
                circles.append(sorted(circle))

    for module in sorted(edges):
        if module not in index:
            visit(module)
    assert not circles, "\n".join(" <-> ".join(circle) for circle in circles)


def test_the_fast_tests_cover_every_room() -> None:
    """Every name is that of tests that are there."""
    assert FAST.keys() == {*ROOMS, "canvas"} and all(FAST.values())
    for name in (name for names in FAST.values() for name in names):
        file, _, inside = name.partition("::")
        tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assert not inside or inside in there, name
    assert is_fast("tests/test_whole_house.py::test_from_a_name_to_a_page") and not is_fast("tests/test_mim.py::test_x")
    assert is_fast("tests/test_bench.py::TestGrid::test_x[1]") and not is_fast("tests/test_bench.py::TestGridded::test_x")
