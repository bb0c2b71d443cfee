"""excise: remove a concept from a text-to-image diffusion model, measure that it is gone, and leave everything else as it was.

Importing this package is instant; torch is loaded when a name below is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from excise.concepts import Concept
    from excise.edits import AdapterEdit, Edit, WeightEdit, compose, load_edit
    from excise.evaluation import evaluate
    from excise.information.residual import measure
    from excise.jobs.audit import audit
    from excise.jobs.erase import erase
    from excise.models import Model, load

_HOMES = {
    "AdapterEdit": "excise.edits",
    "Concept": "excise.concepts",
    "Edit": "excise.edits",
    "Model": "excise.models",
    "WeightEdit": "excise.edits",
    "audit": "excise.jobs.audit",
    "compose": "excise.edits",
    "erase": "excise.jobs.erase",
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
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'excise' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
