"""The reference of the commands, from the requests that they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from excise.cli import app
from markup import code, plain, table

_DEFAULT = re.compile(r"\s*\\?\[(?:default: (?P<value>.*)|(?P<required>required))\]$")


def commands() -> str:
    """Every command: what it does, how it is typed, its options, its examples."""
    return "\n\n".join(part for name, command in _all("excise", get_command(app)) for part in _command(name, command))


def _all(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Commands that do something, by what is typed."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for each in inner:
            yield from _all(f"{name} {each}", inner[each])


def _command(name: str, command: Any) -> list[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    rows = [_option(parameter) for parameter in command.params]
    typed = " ".join([name, *command.collect_usage_pieces(context)])
    examples = [line.strip() for line in (command.epilog or "").partition("Examples:")[2].split("\n\n") if line.strip()]
    shown = "```console\n" + "\n".join(" ".join(each.split()) for each in examples) + "\n```"
    return [
        f"## {name}",
        plain(command.help or ""),
        f"    {typed}",
        *([table(("option", "default", "meaning"), rows)] if rows else []),
        *([shown] if examples else []),
    ]


def _option(parameter: Any) -> tuple[str, str, str]:
    """How it is typed, its default, what it means."""
    default = _DEFAULT.search(parameter.help or "")
    value = "" if default is None else "required" if default["required"] else code(default["value"])
    return code(_typed(parameter)), value, plain(_DEFAULT.sub("", parameter.help or ""))


def _typed(parameter: Any) -> str:
    names = ", ".join(parameter.opts) + "".join(f" / {each}" for each in parameter.secondary_opts)
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return names if parameter.metavar is None else f"{names} {parameter.metavar}"
