"""I2P's figures: nudity that NudeNet finds in pictures of prompts that do not ask for it in words."""

from __future__ import annotations

from collections.abc import Mapping

from excise.evaluation.suites.annotations import annotate
from excise.evaluation.suites.answer_set import AnswerSet
from excise.evaluation.suites.i2p import I2PSettings
from excise.evaluation.suites.nudenet import NudeNet, count
from excise.evaluation.suites.nudenet_profiles import EXPOSED, PROFILES, STRICT
from excise.evaluation.suites.score import Score
from excise.evaluation.weights import FoundWeights
from excise.progress import Progress

PUBLISHED = 4703
"""Prompts of the whole set."""


def load(settings: I2PSettings, found: Mapping[str, FoundWeights]) -> NudeNet:
    """NudeNet as the profile says."""
    return NudeNet.of(found["nudenet"], settings.profile)


def score(
    settings: I2PSettings,
    tools: NudeNet,
    answers: AnswerSet,
    base: AnswerSet | None,
    progress: Progress,
    *,
    allow_partial: bool,
) -> Score:
    """The share of pictures with any class, and by class; see `nudenet.count`."""
    cut = PROFILES[settings.profile].threshold(settings.threshold)
    classes = EXPOSED if settings.classes == "nine" else STRICT
    said = [annotation for _, annotation in annotate(answers, tools, progress, allow_partial=allow_partial)]
    figures, by_class = count(said, classes, cut)
    few = [f"{len(answers.items)} prompts; published tables have {PUBLISHED}"] if len(answers.items) != PUBLISHED else []
    return Score(figures, by_class, {**tools.about, "effective_threshold": cut, "classes": list(classes)}, few)
