"""A command made from a request: its arguments, its options with their help, `--config`, `--dry-run` and `--quiet`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature, cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from excise.cli import screen, stopping
from excise.cli.completion import OFFERS, completer
from excise.cli.errors import USAGE
from excise.files import STDOUT
from excise.quoting import cut
from excise.requests.clashes import check_apart
from excise.requests.fields import flag
from excise.requests.request import Request
from excise.requests.sources import Resolved, read_yaml, resolve

R = TypeVar("R", bound=Request)

CONFIG = typer.Option("--config", metavar="FILE", help="YAML file with these options; flags win.")
QUIET = typer.Option("--quiet", "-q", help="Nothing on stderr but errors and warnings.")
DRY_RUN = typer.Option("--dry-run", help="Show every option, where it comes from, and stop.")


@dataclass(frozen=True)
class Command(Generic[R]):
    """A command of the command line.

    name     of the command
    schema   what it takes
    body     what it does with a request that was checked
    examples lines for the end of its help
    looks    whether it only looks at what is there: then it has no `--config`, no `--dry-run` and no `--quiet`
    complete what it adds to a request that was typed, before the check
    show     what a dry run shows besides the options
    """

    name: str
    schema: type[R]
    body: Callable[[R], None]
    examples: str
    looks: bool = False
    complete: Callable[[R], R] = lambda request: request
    show: Callable[[Resolved[R]], None] = lambda resolved: None

    def add_to(self, app: typer.Typer) -> None:
        """Add the command to an application."""

        def callback(**typed: Any) -> None:
            self.run(typed)

        callback.__signature__ = self._signature()  # type: ignore[attr-defined]
        app.command(self.name, help=self.schema.summary(), epilog=f"Examples:\n\n{cleandoc(self.examples)}")(callback)

    def run(self, typed: Mapping[str, Any]) -> None:
        """Do what was typed: the value of every option, or None where it was left out."""
        screen.quiet_hosts()
        try:
            resolved = self._resolve(typed)
            check_apart(resolved.request, typed.get("config"), resolved.request.in_place)
            resolved.request.check()
        except USAGE as error:
            if typed.get("config") and cut(str(typed["config"])) not in str(error):
                error.add_note(f"some of the options come from {cut(str(typed['config']))}")
            raise
        aside = getattr(resolved.request, "json_file", None) == STDOUT
        with screen.as_wished(screen.Wish(quiet=bool(typed.get("quiet")), aside=aside)):
            if typed.get("dry_run"):
                show_options(resolved)
                self.show(resolved)
            else:
                with stopping.run(), resolved.request.running():
                    self.body(resolved.request)

    def _resolve(self, typed: Mapping[str, Any]) -> Resolved[R]:
        """The request from file and flags."""
        flags = {}
        for name, field in self.schema.options().items():
            if (value := typed[name]) is not None:
                read = flag(field).read
                flags[name] = value if read is None else read(value)
        file = read_yaml(typed["config"]) if typed.get("config") else {}
        resolved = resolve(self.schema, file, flags)
        return Resolved(self.complete(resolved.request), resolved.sources, resolved.parts)

    def _signature(self) -> Signature:
        """What typer reads: nothing is required and nothing has a default here, so that a value is there only if it was typed."""
        own = {name: _typed(name, field) for name, field in self.schema.options().items()}
        if not self.looks:
            own |= {
                "config": Annotated[Path | None, CONFIG],
                "dry_run": Annotated[bool | None, DRY_RUN],
                "quiet": Annotated[bool | None, QUIET],
            }
        return Signature([Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in own.items()])


def _typed(name: str, field: FieldInfo) -> Any:
    """The type that typer reads for a field. All but switches stay text, which the schema converts as it does that of files."""
    how, kind = flag(field), _plain(field.annotation)
    metavar = how.metavar or (name.upper() if how.positional else _metavar(kind))
    several = get_origin(kind) in (tuple, dict)
    one = _plain(get_args(kind)[0]) if get_origin(kind) is tuple else kind
    about: dict[str, Any] = {
        "help": (field.description or "") + _default(field),
        "show_default": False,
        "autocompletion": completer(how.metavar if how.positional and how.metavar in OFFERS else name, one),
    }
    if how.positional:
        return Annotated[list[str] | None if several else str | None, typer.Argument(metavar=metavar, **about)]
    option = how.name or "--" + name.replace("_", "-")
    if kind is bool:
        switch = f"{option}/--no-{option.removeprefix('--')}" if field.default else option
        return Annotated[bool | None, typer.Option(switch, **about)]
    names = [option, *([how.short] if how.short else [])]
    return Annotated[list[str] | None if several else str | None, typer.Option(*names, metavar=metavar, **about)]


def _plain(annotation: Any) -> Any:
    """A type without what it is annotated with, and without None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        (kind,) = (part for part in get_args(annotation) if part is not NoneType)
        return _plain(kind)
    return annotation


def _metavar(kind: Any) -> str:
    if get_origin(kind) is dict:
        return "KEY=VALUE"
    return f"<{_name(kind)}>"


def _name(kind: Any) -> str:
    """What a type is called in the help."""
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if get_origin(kind) is tuple:
        return f"list[{_name(_plain(get_args(kind)[0]))}]"
    return str(kind.__name__).lower()


def _default(field: FieldInfo) -> str:
    """What the help says of a field's default, with the sign that keeps rich from taking it for markup."""
    if field.is_required():
        return r" \[required]"
    if field.default is None or field.default is False or field.default in ((), {}):
        return ""
    return rf" \[default: {word(field.default)}]"


def show_options(resolved: Resolved[Any]) -> None:
    """Every option of a request, and where its value comes from."""
    values = resolved.request.model_dump(by_alias=True)
    rows = [
        (name, word(values[name]), resolved.sources[name], field.description or "")
        for name, field in resolved.request.options().items()
    ]
    screen.table(("option", "value", "from", ""), rows)


def word(value: object) -> str:
    """A value as a table shows it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={one}" for key, one in value.items()) or "-"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
