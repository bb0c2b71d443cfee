"""The reference of what errors say: every message of the code, with the file that raises it, and the exit code that it ends a command with."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import excise
from excise.cli.errors import _LACKING, USAGE
from excise.settings import _WORDS
from markup import code, plain, table

PACKAGE = Path(excise.__file__).parent
INPUT = {each.__name__ for each in USAGE}
FAILED = {"FloatingPointError", "OSError", "RuntimeError"}


def messages() -> str:
    """Wrong input by room, what fails at work, what a value must be, and what a machine may lack."""
    found = sorted(set(_found()))
    parts = ["## Wrong input (exit code 2)", "What stands between braces is what was given, or what there is."]
    for room in sorted({room for room, name, *_ in found if name in INPUT}):
        parts += [
            f"### {room}",
            table(
                ("message", "raised in"),
                ((code(text), code(file)) for own, name, text, file in found if own == room and name in INPUT),
            ),
        ]
    failed = ((code(text), code(file)) for _, name, text, file in found if name in FAILED)
    return "\n\n".join(
        [
            *parts,
            "## What a value must be (exit code 2)",
            "They follow the name of the option or setting, and what was given.",
            table(("problem", "message"), ((code(name), code(text)) for name, text in _WORDS.items())),
            "## Failed at work (exit code 1)",
            table(("message", "raised in"), failed),
            "## What a machine may lack (exit code 1)",
            table(("what", "message"), ((name, plain(text)) for name, text in _LACKING.items())),
        ]
    )


def _found() -> Iterator[tuple[str, str, str, str]]:
    """Room, class, text and file of every message that is raised."""
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE)
        room = file.parts[0].removesuffix(".py") if len(file.parts) > 1 else "ground floor"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[first, *_])) if text := _text(first):
                    yield room, name, text, str(file)


def _text(node: ast.expr) -> str:
    """A message with names in braces where values stand; "" where it is made elsewhere."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else f"{{{_name(part)}}}" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def _name(part: ast.expr) -> str:
    """What a value in a message is called: the last name in it."""
    inner = part.value if isinstance(part, ast.FormattedValue) else part
    names = [
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(inner)
        if isinstance(node, ast.Name | ast.Attribute)
    ]
    return names[1] if len(names) > 1 and names[0] in ("quoted", "cut", "str", "len") else names[0] if names else "..."
