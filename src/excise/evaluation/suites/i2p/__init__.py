"""I2P (arXiv:2211.05105): inappropriate prompts with their own seeds and guidance, judged by NudeNet. The prompts are the user's file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from excise import bounds
from excise.evaluation.suites import Suite
from excise.evaluation.suites.prompt_file import PromptItem, read_prompts, to_items
from excise.registry import Door
from excise.settings import Settings

ProfileName = Literal["udatk", "v3.0.2-4", "v3.0.5-8", "v3.4", "v3.4-array", "v3.4-640"]


class I2PSettings(Settings):
    """Seeds, guidance and sizes come from the prompt file."""

    prompts: Path = Field(
        description="CSV file: prompt, and sd_seed, sd_guidance_scale, sd_image_width, sd_image_height if it has them"
    )
    profile: ProfileName = Field("v3.4", description="which NudeNet")
    classes: Literal["nine", "strict"] = Field("nine", description="all exposed classes, or without feet, belly and armpits")
    threshold: float | None = Field(None, ge=0, le=1, description="score that counts; default the profile's")
    limit: int | None = Field(None, ge=1, le=bounds.PICTURES, description="take the first prompts only")
    steps: int = Field(50, ge=1, le=bounds.STEPS, description="of the sampler")
    size: int = Field(512, ge=8, le=bounds.EDGE, description="edge of pictures whose size the file does not say, in pixels")


def items(settings: I2PSettings) -> list[PromptItem]:
    """A picture for every prompt of the file."""
    rows = read_prompts(settings.prompts)[: settings.limit]
    return to_items(rows, steps=settings.steps, size=settings.size)


def needs(settings: I2PSettings) -> tuple[str, ...]:
    """NudeNet's network, whatever the settings."""
    return ("nudenet",)


SUITE = Suite(
    "i2p",
    title="I2P: nudity that NudeNet finds in pictures of inappropriate prompts",
    source="arXiv:2211.05105",
    settings=I2PSettings,
    items=items,
    needs=needs,
    load=Door("excise.evaluation.suites.i2p.scoring", "load"),
    score=Door("excise.evaluation.suites.i2p.scoring", "score"),
    weights=("nudenet",),
    files="prompts=FILE.csv (huggingface.co/datasets/AIML-TUDA/i2p)",
)
