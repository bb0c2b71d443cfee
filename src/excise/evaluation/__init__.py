"""How much of a concept is left, and what its removal cost: metrics, protocols, suites. Nothing heavy is imported before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.registry import late

if TYPE_CHECKING:
    from excise.evaluation.classifier import Classifier
    from excise.evaluation.protocol import evaluate
    from excise.evaluation.quality import QualityOptions
    from excise.evaluation.weights import MissingWeightsError
    from excise.results.evaluation import Evaluation

_HOMES = {
    "Classifier": "classifier",
    "Evaluation": "protocol",
    "MissingWeightsError": "weights",
    "QualityOptions": "quality",
    "evaluate": "protocol",
}

__all__ = ["Classifier", "Evaluation", "MissingWeightsError", "QualityOptions", "evaluate"]

__getattr__ = late(__name__, _HOMES)
