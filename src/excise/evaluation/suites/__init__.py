"""The registry of suites: published protocols, one folder each in this package; adding a folder is enough.

A folder's `__init__.py` declares a `Suite`, without torch: what can be set, which pictures it asks for, which weights it needs. Its
`scoring.py` loads the networks and scores the pictures. The files beside the folders are shared ingredients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise.evaluation.suites.prompt_file import PromptItem
from excise.evaluation.suites.score import Score
from excise.evaluation.weights import find
from excise.registry import Door, Registry
from excise.settings import Settings, parse


@dataclass(frozen=True)
class Suite:
    """A published protocol: prompts, networks that look at the pictures, figures.

    source   where it was published
    settings what can be set
    items    (settings) -> every picture of its answer set, without torch; raises ValueError or FileNotFoundError for a wrong prompt file
    needs    (settings) -> names of the weights that these settings need (`excise.evaluation.weights`)
    load     (settings, found weights by name) -> the networks it scores with; raises ValueError for wrong weights
    score    (settings, tools, answers, base, progress, *, allow_partial) -> `Score` of one answer set. `tools` is what `load` gave; `base`
             is the base model's answer set or None, for figures that compare with it
    weights  names of all weights that it may need
    files    what else the user supplies, in words
    """

    name: str
    title: str
    source: str
    settings: type[Settings]
    items: Callable[[Any], list[PromptItem]]
    needs: Callable[[Any], tuple[str, ...]]
    load: Door
    score: Callable[..., Score]
    weights: tuple[str, ...]
    files: str

    def parse(self, values: Mapping[str, Any]) -> Settings:
        """Its settings from plain values. Raises ValueError in one line that names every wrong key or value."""
        return parse(self.settings, values, f"setting of {self.name}")

    def tools(self, settings: Any, weights: Mapping[str, str | Path]) -> Any:
        """Find the weights that the settings need, then load them. Raises MissingWeightsError, or ValueError for wrong weights."""
        return self.load(settings, {name: find(name, weights) for name in self.needs(settings)})


SUITES: Registry[Suite] = Registry(Suite, "suite", __name__)


def suites() -> dict[str, Suite]:
    """Every suite by name, sorted."""
    return SUITES.entries


def get(name: str) -> Suite:
    """The suite of that name. Raises ValueError with the nearest match."""
    return SUITES.get(name)
