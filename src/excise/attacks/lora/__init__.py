"""LoRA of the base model: what it is called and what can be set."""

from __future__ import annotations

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several


class LoraSettings(Settings):
    """The attack is ours, and so are its defaults."""

    rank: int = Field(4, ge=1, description="of the additions")
    steps: int = Field(300, ge=1, description="training steps on the base model, fewer if the budget ends before")
    batch: int = Field(8, ge=1, description="noised pictures per step")
    lr: float = Field(5e-4, gt=0, description="rate of AdamW")
    pictures: int = Field(64, ge=1, description="pictures of other concepts, made by the base model")
    strengths: Several[float] = (1.0, 2.0, -1.0)
    """Factors of the add-on, in the order in which they are tried."""


ATTACK = Attack(
    "lora",
    title="LoRA of the base model",
    paper="ours",
    settings=LoraSettings,
    means="weights",
    needs_base=True,
    run=Door("excise.attacks.lora.attack", "attack"),
    needs=("attention layers",),
)
