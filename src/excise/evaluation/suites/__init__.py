"""Published protocols on user-supplied prompts, models and classifiers, one folder each."""

from excise.evaluation.suites.suite import Figure, Score, Suite, get, register, suites
from excise.settings import Settings

__all__ = ["Figure", "Score", "Settings", "Suite", "get", "register", "suites"]
