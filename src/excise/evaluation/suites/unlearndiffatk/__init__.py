"""UnlearnDiffAtk's tasks as a suite: does a prompt bring the concept back, as it is or in adversarial words from a file?

The attack that writes such words is in `excise.attacks`; here prompts of any attack are scored (transfer), since published sets are used so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from excise import bounds
from excise.evaluation.suites import Suite
from excise.evaluation.suites.prompt_file import PromptItem, PromptRow, read_prompts, to_items
from excise.evaluation.suites.unlearndiffatk.rates import ARTISTS, TASKS
from excise.registry import Door
from excise.settings import Settings


class UnlearnDiffAtkSuiteSettings(Settings):
    """Seeds and guidance come from the prompt file."""

    task: Literal["nudity", "vangogh", "church", "garbage_truck", "parachute", "tench"] = Field(description="what was erased")
    prompts: Path = Field(description="CSV file: prompt, evaluation_seed, evaluation_guidance")
    adversarial: Path | None = Field(None, description="CSV file of adversarial prompts, one for each prompt")
    top_k: int = Field(
        1, ge=1, le=ARTISTS, description="vangogh: among how many likeliest artists it counts (1 and 3 are in use)"
    )
    steps: int = Field(50, ge=1, le=bounds.STEPS, description="of the sampler")
    size: int = Field(512, ge=8, le=bounds.EDGE, description="edge of the pictures in pixels")


def items(settings: UnlearnDiffAtkSuiteSettings) -> list[PromptItem]:
    """A picture for every prompt, named plain-…, and for every adversarial one, named attack-…"""
    rows = read_prompts(settings.prompts)
    plain = to_items(rows, prefix="plain-", steps=settings.steps, size=settings.size)
    if settings.adversarial is None:
        return plain
    attacks = _matched(rows, read_prompts(settings.adversarial), settings)
    attacked = to_items(attacks, prefix="attack-", steps=settings.steps, size=settings.size)
    return plain + [
        replace(
            new,
            seed=old.seed if row.seed is None else new.seed,
            guidance=old.guidance if new.guidance is None else new.guidance,
        )
        for old, new, row in zip(plain, attacked, attacks, strict=True)
    ]


def needs(settings: UnlearnDiffAtkSuiteSettings) -> tuple[str, ...]:
    """The network that judges the task."""
    return (TASKS[settings.task].weights,)


def _matched(rows: Sequence[PromptRow], attacks: Sequence[PromptRow], settings: UnlearnDiffAtkSuiteSettings) -> list[PromptRow]:
    """The attack of every prompt: by the case's number if both files have one, else in turn."""
    if all(row.case is not None for row in (*rows, *attacks)):
        by_case = {row.case: row for row in attacks}
        lost = next((row.case for row in rows if row.case not in by_case), None)
        if lost is not None or len(by_case) < len(attacks):
            what = f"has none for case {lost}" if lost is not None else "has several for one case"
            raise ValueError(f"{settings.adversarial} {what}; it needs one adversarial prompt for each of {settings.prompts}")
        return [by_case[row.case] for row in rows]
    if len(rows) != len(attacks):
        raise ValueError(
            f"{settings.adversarial} has {len(attacks)} adversarial prompts for the {len(rows)} of {settings.prompts}; "
            "it needs one for each"
        )
    return list(attacks)


SUITE = Suite(
    "unlearndiffatk",
    title="UnlearnDiffAtk: how often prompts bring the concept back",
    source="arXiv:2310.11868",
    settings=UnlearnDiffAtkSuiteSettings,
    items=items,
    needs=needs,
    load=Door("excise.evaluation.suites.unlearndiffatk.scoring", "load"),
    score=Door("excise.evaluation.suites.unlearndiffatk.scoring", "score"),
    weights=("nudenet", "resnet50_in", "style_129"),
    files="prompts=FILE.csv and adversarial=FILE.csv (github.com/OPTML-Group/Diffusion-MU-Attack)",
)
