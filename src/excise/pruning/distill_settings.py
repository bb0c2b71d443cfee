"""What can be set of a distillation (no torch here)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from excise.erasure.training_settings import Divergent, Retaining

Mode = Literal["penalty", "alternating"]
"""How repairing and erasing are put together; see `excise.pruning.bilevel`."""

Upper = Literal["esd", "mim", "sdd", "ca"]
"""Whose loss erases; see `excise.pruning.erasing`."""

_PUBLISHED: dict[str, Any] = {
    "batch": 64, "lr": 1e-6, "upper_lr": 5e-6, "schedule": "constant", "warmup": 250, "lam": 100.0, "inner": 20, "every": 10,
}  # fmt: skip


class DistillSettings(Retaining, Divergent):
    """Published values are presets for Stable Diffusion 2.1: "paper" as its tables were made, "code" as its release is configured.

    Learning rates, steps and batch of the defaults are ours, for the canvas, and not tuned. The weights of the losses are those of the release.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {**_PUBLISHED, "rounds": 50, "steps": 400},
        "code": {**_PUBLISHED, "rounds": 50, "steps": 1000},
    }

    rounds: int = Field(20, ge=1, description="parts of the run; a checkpoint is written after each")
    steps: int = Field(105, ge=1, description="steps in a round; mode=penalty counts those of both levels")
    batch: int = Field(16, ge=1, le=4096, description="pictures in a step")
    lr: float = Field(1e-4, gt=0, description="learning rate of repairing")
    upper_lr: float = Field(1e-4, gt=0, description="learning rate of erasing, or in mode=penalty of the erased student")
    warmup: int = Field(0, ge=0, description="steps in which a learning rate rises to its value; each level counts its own")
    diffusion_weight: float = Field(1.0, ge=0, description="repairing: weight of the pictures' own noise")
    output_weight: float = Field(2.0, ge=0, description="repairing: weight of the teacher's predictions")
    feature_weight: float = Field(0.1, ge=0, description="repairing: weight of what the teacher's blocks hand on")
    min_snr: float = Field(5.0, gt=0, description="gamma of the min-SNR weight of the pictures' own noise")
    lam: float = Field(100.0, ge=0, description="mode=penalty: weight of repairing in the erased student's step (lambda)")
    inner: int = Field(20, ge=1, description="mode=penalty: repairing steps before each step of the erased student (K)")
    warm_start: bool = Field(
        False, description="mode=penalty: every cycle begins the erased student anew at the repaired one (a reading of ours)"
    )
    every: int = Field(10, ge=1, description="mode=alternating: an erasing step after so many repairing ones")
    eta: float = Field(1.0, description="upper=esd: strength of the negative guidance")
    anchor: str = Field("next", description="upper=ca: what the concept should be taken for: next, masked, empty, or a phrase")

    def erasing_steps(self, mode: Mode) -> int:
        """How many steps of a run erase."""
        return self.rounds * self.steps // (self.inner + 1 if mode == "penalty" else self.every)

    def check_erases(self, mode: Mode) -> None:
        """Raise ValueError for a run that is over before its first step that erases."""
        if not self.erasing_steps(mode):
            often, name = (self.inner + 1, "inner") if mode == "penalty" else (self.every, "every")
            raise ValueError(
                f"nothing would be erased: of {often} steps one erases, and rounds={self.rounds} of steps={self.steps} are fewer; "
                f"take more, or a smaller {name}"
            )
