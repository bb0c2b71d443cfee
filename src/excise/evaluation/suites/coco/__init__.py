"""COCO prompts: are the pictures of everything else as good as they were? FID and KID, to real pictures and to the base model's; CLIP score."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from excise import bounds
from excise.evaluation.suites import Suite
from excise.evaluation.suites.prompt_file import PromptItem, read_prompts, to_items
from excise.registry import Door
from excise.settings import Settings


class CocoSettings(Settings):
    """Seeds come from the prompt file, guidance too if it has them."""

    prompts: Path = Field(description="CSV file: prompt, evaluation_seed")
    real: Path | None = Field(None, description="folder of real pictures of the same prompts")
    features: Literal["inception", "clip"] = Field("inception", description="what FID and KID are measured on")
    clip_score: bool = Field(True, description="also how well pictures fit their prompts, by CLIP")
    lpips: bool = Field(False, description="also LPIPS to the base model's pictures")
    limit: int | None = Field(None, ge=1, le=bounds.PICTURES, description="take the first prompts only")
    steps: int = Field(50, ge=1, le=bounds.STEPS, description="of the sampler")
    size: int = Field(512, ge=8, le=bounds.EDGE, description="edge of the pictures in pixels")


def items(settings: CocoSettings) -> list[PromptItem]:
    """A picture for every prompt of the file."""
    rows = read_prompts(settings.prompts)[: settings.limit]
    return to_items(rows, steps=settings.steps, size=settings.size)


def needs(settings: CocoSettings) -> tuple[str, ...]:
    """The networks of the features and figures that are asked for, each once, sorted."""
    names = {"inception_fid" if settings.features == "inception" else "clip"}
    names |= {"clip"} if settings.clip_score else set()
    names |= {"lpips"} if settings.lpips else set()
    return tuple(sorted(names))


SUITE = Suite(
    "coco",
    title="COCO prompts: FID, KID and CLIP score of everything else",
    source="arXiv:1405.0312",
    settings=CocoSettings,
    items=items,
    needs=needs,
    load=Door("excise.evaluation.suites.coco.scoring", "load"),
    score=Door("excise.evaluation.suites.coco.scoring", "score"),
    weights=("inception_fid", "clip", "lpips"),
    files="prompts=FILE.csv, and real=FOLDER of pictures if FID is to be to real ones",
)
