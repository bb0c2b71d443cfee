"""All commands of the command line. No logic lives here; a command's file, and what it needs, is imported when the command is typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from excise.cli.errors import CommandGroup

COMMANDS = {
    "erase": "Erase concepts: the edit, what was measured of it, a picture.",
    "generate": "Make pictures with a model, with or without edits.",
    "evaluate": "Measure a model: UA, IRA, CRA and the neutral rate.",
    "upscale": "Make pictures larger and sharper on a frozen model.",
    "vary": "Ask for an erased concept otherwise: other words, other samplers.",
    "measure": "Measure how much a concept's words still say, in nats.",
    "diff": "Import a model that was erased elsewhere, as an edit of its base.",
    "audit": "Try to bring an erased concept back.",
    "bench": "Run a grid of erasures; a rerun does only what is missing.",
    "report": "Build one page from a folder's files.",
    "list": "List methods, attacks, built-in models, or a model's concepts.",
    "info": "Say what an edit or a model is.",
    "apply": "Write a full model: the base with edits in it.",
    "export": "Write edits as a LoRA file.",
    "restore": "Give erased concepts back.",
    "prune": "Take whole blocks out of a U-Net.",
    "distill": "Repair a pruned model, and erase concepts meanwhile.",
    "convert": "Bring result files of earlier versions up to date.",
    "queue": "Removal requests that come and go, and one edit that serves them.",
    "suite": "Published protocols on your own prompts, models, classifiers.",
    "studio": "Open a page in the browser: choose, erase, compare.",
    "canvas": "Make the built-in model again.",
}
"""What the list of all commands says of each, in a line. Each is a file here, but for those of `_HOMES`."""

_HOMES = {"list": ("show", "LIST"), "info": ("show", "INFO")}


class _Late(Mapping[str, Any]):
    """Every command by name, imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _imported(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _imported(name: str) -> Any:
    """A command as typer makes it."""
    file, value = _HOMES.get(name, (name, "COMMAND"))
    module = import_module(f"excise.cli.{file}")
    around = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    around.callback()(_options)
    if hasattr(module, "app"):
        around.add_typer(module.app, name=name)
    else:
        getattr(module, value).add_to(around)
    group: Any = typer.main.get_command(around)
    return group.commands[name]


class _AllCommands(CommandGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Late()  # type: ignore[assignment]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super(_AllCommands, self._listing()).format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        inside = copy(ctx)
        inside.command = self._listing()
        return super().shell_complete(inside, incomplete)

    def _listing(self) -> _AllCommands:
        """The same with a line for each command, for which none of them is imported."""
        listing = copy(self)
        listing.commands = {name: TyperCommand(name, help=line) for name, line in COMMANDS.items()}
        return listing


EXAMPLES = "  excise erase cat --out out/cat\n\n  excise generate 'a picture of a cat' --edit out/cat --out cat.png"
EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 wrong input; 129, 130, 143 stopped by SIGHUP, SIGINT (Ctrl-C), SIGTERM."

app = typer.Typer(
    name="excise",
    cls=_AllCommands,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=f"{EXIT_CODES}\n\nExamples:\n\n{EXAMPLES}",
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Remove a concept from a text-to-image diffusion model, measure that it is gone, and leave everything else as it was."""
