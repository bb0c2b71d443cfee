"""Fine-tuning on unrelated pictures: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings


class TuningSettings(Settings):
    """Defaults are ours, for small budgets."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"lora": {"mode": "lora"}}

    mode: Literal["full", "lora"] = Field(
        "full", description="train every weight of the U-Net, or additions to its attention layers"
    )
    rank: int = Field(4, ge=1, description="of the additions")
    steps: int = Field(1000, ge=1, description="training steps, fewer if the budget ends before")
    batch: int = Field(8, ge=1, description="noised pictures per step")
    lr: float = Field(1e-4, gt=0, description="rate of AdamW")
    pictures: int = Field(64, ge=1, description="pictures to train on, made by the base model")
    tests: int = Field(
        4,
        ge=1,
        description="how often the prompts are tried: at the end, before that after half as many steps, and so on",
    )


class FewShotSettings(TuningSettings):
    """Defaults are ours. `memora` has the published settings."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "memora": {"mode": "lora", "rank": 4, "lr": 1e-4, "batch": 4, "steps": 10, "pictures": 4, "tests": 1}
    }

    mode: Literal["full", "lora"] = "lora"
    steps: int = Field(80, ge=1, description="training steps, fewer if the budget ends before")
    lr: float = Field(
        1e-3, gt=0, description="rate of AdamW (ours: at the published 1e-4 the built-in model learns nothing in 80 steps)"
    )
    batch: int = Field(4, ge=1, description="noised pictures per step")
    pictures: int = Field(4, ge=1, description="pictures of the concept, made by the base model")


UNRELATED = Attack(
    "finetuning",
    title="Fine-tuning on unrelated pictures",
    paper="arXiv 2410.08074",
    settings=TuningSettings,
    means="weights",
    needs_base=True,
    run=Door("excise.attacks.finetuning.attack", "unrelated"),
    needs=("attention layers",),
)


FEW_SHOT = Attack(
    "few-shot",
    title="Few-shot relearning",
    paper="arXiv 2510.03263",
    settings=FewShotSettings,
    means="weights",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.finetuning.attack", "few_shot"),
    needs=("attention layers",),
)
