"""How much of a concept is left, and what its removal cost: metrics, protocols, suites."""

from excise.evaluation.classifier import Classifier
from excise.evaluation.protocol import Evaluation, evaluate

__all__ = ["Classifier", "Evaluation", "evaluate"]
