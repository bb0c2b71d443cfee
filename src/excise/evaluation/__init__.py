"""How much of a concept is left, and what its removal cost: metrics, protocols, suites. Nothing heavy is imported before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from excise.evaluation.classifier import Classifier
    from excise.evaluation.protocol import Evaluation, evaluate
    from excise.evaluation.quality import QualityOptions
    from excise.evaluation.weights import MissingWeightsError

_HOMES = {
    "Classifier": "classifier",
    "Evaluation": "protocol",
    "MissingWeightsError": "weights",
    "QualityOptions": "quality",
    "evaluate": "protocol",
}

__all__ = ["Classifier", "Evaluation", "MissingWeightsError", "QualityOptions", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'excise.evaluation' has no attribute {name!r}")
    return getattr(importlib.import_module(f"excise.evaluation.{_HOMES[name]}"), name)
