"""The registry of erasure methods: one file each in this package; dropping in a file is enough.

A method file declares its settings and registers one function. It imports torch inside that function, so that listing methods and checking
settings stay instant.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from excise.concepts import Concept
from excise.hints import nearest
from excise.settings import Settings, parse

if TYPE_CHECKING:
    from excise.edits import Edit
    from excise.erasure.run import Run
    from excise.models import Model


Erase = Callable[["Model", Sequence[Concept], Any, "Run"], "Edit"]


@dataclass(frozen=True)
class Method:
    """A published algorithm: (model, concepts, settings, run) -> edit.

    hardens  whether it also erases what showed a concept in an audit (`run.counterexamples`)
    """

    name: str
    title: str
    paper: str
    settings: type[Settings]
    erase: Erase
    hardens: bool = False


_methods: dict[str, Method] = {}


def register(name: str, *, title: str, paper: str, settings: type[Settings], hardens: bool = False) -> Callable[[Erase], Erase]:
    """Decorator that enters a method. Raises ValueError for a taken or not lower-case name."""

    def enter(function: Erase) -> Erase:
        if name in _methods or name != name.lower():
            raise ValueError(f"method name {name!r} is taken or not lower-case")

        @wraps(function)
        def erase(model: Model, concepts: Sequence[Concept], settings: Any, run: Run) -> Edit:
            if run.checkpoint is not None:  # large models take a while to be told apart
                run = replace(run, task=json.dumps(task(name, model, concepts)))
            return function(model, concepts, settings, run)

        _methods[name] = Method(name, title, paper, settings, erase, hardens)
        return erase

    return enter


def task(name: str, model: Model, concepts: Sequence[Concept]) -> dict[str, Any]:
    """What, beside settings and seed, must be the same for a run to go on to the same bits, by what an error calls it."""
    from excise.digests import digest_values
    from excise.edits.applied import base_fingerprint
    from excise.models.fingerprint import surroundings
    from excise.versions import versions

    return {
        "method": name,
        "concepts": [concept.to_dict() for concept in concepts],
        "wordings": digest_values([[[c.templates, c.contexts] for c in concepts], asdict(model.catalog)]),
        "base": base_fingerprint(model),
        **surroundings(model),
        "sampler": asdict(model.sampler),
        "dtype": model.precision,
        "device": model.device.type,
        "versions": versions(),
    }


def methods() -> dict[str, Method]:
    """Every method by name, sorted."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}.erase")
    return dict(sorted(_methods.items()))


def get(name: str) -> Method:
    """The method of that name. Raises ValueError with the nearest match."""
    known = methods()
    if name not in known:
        raise ValueError(f"unknown method {name!r}; {nearest(name, list(known))}")
    return known[name]


def parse_settings(method: Method, values: dict[str, Any]) -> Settings:
    """Settings from plain values (strings from a command line are converted).

    Raises ValueError in one line that names every wrong key or value, with the nearest known key.
    """
    values = dict(values)
    preset = values.pop("preset", None)
    if preset is not None:
        if preset not in method.settings.presets:
            known = list(method.settings.presets)
            raise ValueError(f"method {method.name!r} has no preset {preset!r}; {nearest(str(preset), known)}")
        values = {**method.settings.presets[preset], **values}
    return parse(method.settings, values, f"setting of {method.name}")
