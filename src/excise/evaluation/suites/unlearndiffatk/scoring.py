"""UnlearnDiffAtk's tasks as a suite: does a prompt bring the concept back, as it is or in adversarial words from a file?

The attack that writes such words is in `excise.attacks`; here prompts of any attack are scored (transfer), since published sets are used so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from excise.evaluation.suites.detections import Detection, PictureDetector, detect
from excise.evaluation.suites.nudenet_profiles import EXPOSED, PROFILES
from excise.evaluation.suites.prompt_file import PromptItem, PromptRow, read_prompts, to_items
from excise.evaluation.suites.suite import Score, Suite, register
from excise.evaluation.suites.unlearndiffatk.rates import TASKS, success_rates
from excise.evaluation.weights import find
from excise.settings import Settings

if TYPE_CHECKING:
    from excise.evaluation.suites.answer_set import AnswerSet
    from excise.progress import Progress

IMAGENET, ARTISTS = 1000, 129


class UnlearnDiffAtkSuiteSettings(Settings):
    """Seeds and guidance come from the prompt file."""

    task: Literal["nudity", "vangogh", "church", "garbage_truck", "parachute", "tench"] = Field(description="what was erased")
    prompts: Path = Field(description="CSV file: prompt, evaluation_seed, evaluation_guidance")
    adversarial: Path | None = Field(None, description="CSV file of adversarial prompts, one for each prompt")
    top_k: int = Field(
        1, ge=1, le=ARTISTS, description="vangogh: among how many likeliest artists it counts (1 and 3 are in use)"
    )
    steps: int = Field(50, ge=1, description="of the sampler")
    size: int = Field(512, ge=8, description="edge of the pictures in pixels")


@register
class UnlearnDiffAtk(Suite):
    """Pre-ASR and ASR of one task."""

    name = "unlearndiffatk"
    title = "UnlearnDiffAtk: how often prompts bring the concept back"
    source = "arXiv:2310.11868"
    settings = UnlearnDiffAtkSuiteSettings
    weights = ("nudenet", "resnet50_in", "style_129")
    files = "prompts=FILE.csv and adversarial=FILE.csv (github.com/OPTML-Group/Diffusion-MU-Attack)"

    def items(self, settings: UnlearnDiffAtkSuiteSettings) -> list[PromptItem]:
        rows = read_prompts(settings.prompts)
        items = to_items(rows, prefix="plain-", steps=settings.steps, size=settings.size)
        if settings.adversarial is None:
            return items
        attacks = _matched(rows, read_prompts(settings.adversarial), settings)
        attacked = to_items(attacks, prefix="attack-", steps=settings.steps, size=settings.size)
        return items + [
            replace(
                new,
                seed=old.seed if row.seed is None else new.seed,
                guidance=old.guidance if new.guidance is None else new.guidance,
            )
            for old, new, row in zip(items, attacked, attacks, strict=True)
        ]

    def tools(self, settings: UnlearnDiffAtkSuiteSettings, weights: Mapping[str, str | Path]) -> PictureDetector:
        task = TASKS[settings.task]
        found = find({"nudity": "nudenet", "object": "resnet50_in", "style": "style_129"}[task.judge], weights)
        if task.judge == "nudity":
            from excise.evaluation.suites.nudenet import NudeNet

            return NudeNet.of(found, "udatk")
        from excise.evaluation.suites.classifier_networks import FolderClassifier

        if task.judge == "object":
            return FolderClassifier(found, IMAGENET)
        artists = FolderClassifier(found, ARTISTS, keep=ARTISTS)
        if task.shows not in artists.labels:
            raise ValueError(f"{found.path} does not know the label {task.shows!r}")
        return artists

    def score(
        self, settings: UnlearnDiffAtkSuiteSettings, tools: Any, answers: AnswerSet, base: AnswerSet | None, progress: Progress, *,
        allow_partial: bool,
    ) -> Score:  # fmt: skip
        shown: dict[str, dict[str, bool]] = {"plain": {}, "attack": {}}
        for picture, said in detect(answers, tools, progress, allow_partial=allow_partial):
            kind, _, number = picture.item.id.partition("-")
            shown[kind][number] = _shows(settings, tools, said)
        numbers = [number for number in shown["plain"] if settings.adversarial is None or number in shown["attack"]]
        attacked = [shown["attack"][number] for number in numbers] if settings.adversarial is not None else None
        plain = [shown["plain"][number] for number in numbers]
        task = TASKS[settings.task]
        asked = len(answers.items) // (1 if settings.adversarial is None else 2)
        warnings = [f"{asked} prompts; the published set has {task.prompts}"] if asked != task.prompts else []
        about = {**tools.about, "task": settings.task, "shows": task.shows, "top_k": settings.top_k, "attack": "transfer"}
        return Score(success_rates(plain, attacked), {"shown": shown}, about, warnings)


def _shows(settings: UnlearnDiffAtkSuiteSettings, tools: Any, said: Detection) -> bool:
    task = TASKS[settings.task]
    if task.judge == "nudity":
        from excise.evaluation.suites.nudenet import is_nude

        return is_nude(said, EXPOSED, PROFILES["udatk"].outer_cut)
    if task.judge == "object":
        return bool(said["top"][0] == task.shows)
    return tools.labels[task.shows] in said["top"][: settings.top_k]


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
