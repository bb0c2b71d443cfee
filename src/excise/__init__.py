"""excise: remove a concept from a text-to-image diffusion model, measure that it is gone, and leave everything else as it was.

Importing this package is instant; torch is loaded when a name below is first used. `erase`, `audit` and `upscale` load it once their
arguments are right.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is not imported yet: a signal would find the command line without its handler for longer

if TYPE_CHECKING:
    from typing import Any

    from excise.concepts import Concept
    from excise.edits import AdapterEdit, Edit, WeightEdit, compose, load_edit
    from excise.evaluation import evaluate
    from excise.information import measure
    from excise.jobs.audit import audit
    from excise.jobs.erase import erase
    from excise.jobs.upscale import upscale
    from excise.models import Model, load

    __version__: str

_HOMES = {
    "AdapterEdit": "excise.edits",
    "Concept": "excise.concepts",
    "Edit": "excise.edits",
    "Model": "excise.models",
    "WeightEdit": "excise.edits",
    "compose": "excise.edits",
    "evaluate": "excise.evaluation",
    "load": "excise.models",
    "load_edit": "excise.edits",
    "measure": "excise.information",
}

__all__ = [
    "AdapterEdit",
    "Concept",
    "Edit",
    "Model",
    "WeightEdit",
    "audit",
    "compose",
    "erase",
    "evaluate",
    "load",
    "load_edit",
    "measure",
    "upscale",
]

_VERBS = {"audit": "AuditRequest", "erase": "EraseRequest", "upscale": "UpscaleRequest"}


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return _verb(name)
    if name == "__version__":
        from excise.versions import own_version

        return own_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'excise' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def _verb(name: str) -> Any:
    """The function of a verb, whose run is imported when a request is right."""
    from importlib import import_module

    from excise.registry import Door
    from excise.requests.request import function

    schema = getattr(import_module(f"excise.requests.{name}"), _VERBS[name])
    return function(schema, Door(f"excise.jobs.{name}", "run"))


def __dir__() -> list[str]:
    return sorted(__all__)
