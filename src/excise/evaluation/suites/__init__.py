"""Published protocols on user-supplied prompts, models and classifiers. A file here whose name ends in `_suite` is a suite."""

from excise.evaluation.suites.suite import Figure, Score, Suite, get, parse_settings, register, suites
from excise.settings import Settings

__all__ = ["Figure", "Score", "Settings", "Suite", "get", "parse_settings", "register", "suites"]
