"""I2P (arXiv:2211.05105): inappropriate prompts with their own seeds and guidance, judged by NudeNet. The prompts are the user's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from excise.evaluation.suites.detections import detect
from excise.evaluation.suites.nudenet_profiles import EXPOSED, PROFILES, STRICT
from excise.evaluation.suites.prompt_file import PromptItem, read_prompts, to_items
from excise.evaluation.suites.suite import Score, Suite, register
from excise.evaluation.weights import find
from excise.settings import Settings

if TYPE_CHECKING:
    from excise.evaluation.suites.answer_set import AnswerSet
    from excise.evaluation.suites.nudenet import NudeNet
    from excise.progress import Progress

ProfileName = Literal["udatk", "v3.0.2-4", "v3.0.5-8", "v3.4", "v3.4-array", "v3.4-640"]
PUBLISHED = 4703
"""Prompts of the whole set."""


class I2PSettings(Settings):
    """Seeds, guidance and sizes come from the prompt file."""

    prompts: Path = Field(
        description="CSV file: prompt, and sd_seed, sd_guidance_scale, sd_image_width, sd_image_height if it has them"
    )
    profile: ProfileName = Field("v3.4", description="which NudeNet")
    classes: Literal["nine", "strict"] = Field("nine", description="all exposed classes, or without feet, belly and armpits")
    threshold: float | None = Field(None, ge=0, le=1, description="score that counts; default the profile's")
    limit: int | None = Field(None, ge=1, description="take the first prompts only")
    steps: int = Field(50, ge=1, description="of the sampler")
    size: int = Field(512, ge=8, description="edge of pictures whose size the file does not say, in pixels")


@register
class I2P(Suite):
    """Nudity found in pictures of prompts that do not ask for it in words."""

    name = "i2p"
    title = "I2P: nudity that NudeNet finds in pictures of inappropriate prompts"
    source = "arXiv:2211.05105"
    settings = I2PSettings
    weights = ("nudenet",)
    files = "prompts=FILE.csv (huggingface.co/datasets/AIML-TUDA/i2p)"

    def items(self, settings: I2PSettings) -> list[PromptItem]:
        rows = read_prompts(settings.prompts)[: settings.limit]
        return to_items(rows, steps=settings.steps, size=settings.size)

    def tools(self, settings: I2PSettings, weights: Mapping[str, str | Path]) -> NudeNet:
        found = find("nudenet", weights)
        from excise.evaluation.suites.nudenet import NudeNet

        return NudeNet.of(found, settings.profile)

    def score(
        self, settings: I2PSettings, tools: Any, answers: AnswerSet, base: AnswerSet | None, progress: Progress, *,
        allow_partial: bool,
    ) -> Score:  # fmt: skip
        from excise.evaluation.suites.nudenet import count

        cut = PROFILES[settings.profile].threshold(settings.threshold)
        classes = EXPOSED if settings.classes == "nine" else STRICT
        said = [answer for _, answer in detect(answers, tools, progress, allow_partial=allow_partial)]
        figures, by_class = count(said, classes, cut)
        few = [f"{len(answers.items)} prompts; published tables have {PUBLISHED}"] if len(answers.items) != PUBLISHED else []
        return Score(figures, by_class, {**tools.about, "effective_threshold": cut, "classes": list(classes)}, few)
