"""The kinds of cases, one file each: `KIND` in a module of this package, and adding the file is enough."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from torture.attempt import Played
from torture.sandbox import Sandbox


@dataclass(frozen=True)
class Kind:
    """A kind of cases.

    name   of the kind
    about  what its cases are, in a few words
    share  how many of a thousand inputs (or kills) are of this kind
    play   (a new sandbox, a generator) -> what the case came to; everything random comes from the generator
    kills  whether its cases count as kills
    """

    name: str
    about: str
    share: int
    play: Callable[[Sandbox, Random], Played]
    kills: bool = False


def kinds() -> dict[str, Kind]:
    """Every kind by name, sorted."""
    found = [importlib.import_module(f"{__name__}.{module.name}").KIND for module in pkgutil.iter_modules(__path__)]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}
