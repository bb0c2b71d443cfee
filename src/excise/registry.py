"""Registries: what a package offers by name. Every folder of the package declares one entry or more; adding a folder is enough.

A folder's `__init__.py` says what an entry is called and what can be set, without torch. The work stands in another file of the folder,
behind a `Door`. So listing entries and checking settings is instant, and the file that does the work imports what it likes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from excise.hints import nearest
from excise.quoting import quoted


class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=Named)


@dataclass(frozen=True)
class Door:
    """A function that is imported when it is first called.

    >>> Door("math", "sqrt")(9.0)
    3.0
    """

    module: str
    function: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(self.module), self.function)(*arguments, **named)


def late(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported when they are first used.

    homes  name -> module of the package that has it
    """

    def look_up(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return look_up


class Registry(Generic[E]):
    """The entries that the folders of a package declare as values of their `__init__.py`.

    kind     the class of an entry, such as Method
    what     what an entry is called in errors, such as "method"
    package  name of the package, such as "excise.methods"
    order    key by which entries are listed; default their names
    reserved names that mean something else and cannot be an entry's
    """

    def __init__(
        self, kind: type[E], what: str, package: str, *, order: Callable[[E], Any] | None = None, reserved: Iterable[str] = ()
    ) -> None:
        self.kind, self.what, self.package = kind, what, package
        self.order: Callable[[E], Any] = order or (lambda entry: entry.name)
        self.reserved = tuple(reserved)

    @cached_property
    def entries(self) -> dict[str, E]:
        """Every entry by name, in order. Raises ValueError for a name that is taken, reserved or not lower-case."""
        found: dict[str, E] = {}
        for folder in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            if folder.ispkg:
                for value in vars(importlib.import_module(f"{self.package}.{folder.name}")).values():
                    if isinstance(value, self.kind):
                        self._enter(value, found)
        return {entry.name: entry for entry in sorted(found.values(), key=self.order)}

    def _enter(self, entry: E, found: dict[str, E]) -> None:
        name = entry.name
        if found.get(name, entry) is not entry or name in self.reserved or name != name.lower():
            raise ValueError(f"{self.what} name {name!r} is taken or not lower-case")
        found[name] = entry

    def get(self, name: str) -> E:
        """The entry of that name. Raises ValueError with the nearest match."""
        if name not in self.entries:
            raise ValueError(f"unknown {self.what} {quoted(name)}; {nearest(name, [*self.reserved, *self.entries])}")
        return self.entries[name]
