"""Published protocols on user-supplied prompts, models and classifiers. A file here whose name ends in `_suite` is a suite."""

from excise.evaluation.suites.suite import Figure, Score, Suite, SuiteSettings, get, parse_settings, register, suites

__all__ = ["Figure", "Score", "Suite", "SuiteSettings", "get", "parse_settings", "register", "suites"]
