"""Classifier guidance: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several

_PUBLISHED = tuple(float(scale) for scale in range(25, 194, 7))

_TRAINING = {"positives": 500, "negatives": 5000, "steps": 70 * 5500 // 8, "batch": 8, "lr": 1e-4}


class ClassifierSettings(Settings):
    """Defaults are ours, for small budgets.

    `published` trains on 500 pictures of the concept and 5,000 others, for 70 epochs in batches of 8, and tries 25 scales. `combined` adds
    noise while sampling. The authors draw 7 noises for every picture before the training; here every step draws its own.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "published": {"scales": _PUBLISHED, **_TRAINING},
        "combined": {"scales": _PUBLISHED, **_TRAINING, "etas": (1.0, 1.17, 1.34, 1.51, 1.68, 1.85)},
    }

    scales: Several[float] = (5.0, 25.0, 53.0, 109.0, 193.0)
    """s, how strongly the classifier pulls, in the order in which they are tried."""
    etas: Several[float] = (0.0,)
    """How much fresh noise a step adds, as a factor of DDPM's. All scales are tried with one before the next."""
    positives: int = Field(64, ge=2, description="pictures of the concept to train with")
    negatives: int = Field(128, ge=2, description="pictures without it")
    steps: int = Field(600, ge=1, description="training steps of the classifier")
    batch: int = Field(64, ge=1, description="noised pictures per step")
    lr: float = Field(1e-3, gt=0, description="rate of AdamW")


ATTACK = Attack(
    "classifier-guidance",
    title="Classifier guidance",
    paper="arXiv 2505.17013",
    settings=ClassifierSettings,
    means="pictures",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.classifier_guidance.attack", "attack"),
    needs=("diffusion path",),
)
