"""Inpainting: what it is called and what can be set."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings


class InpaintingSettings(Settings):
    """Defaults are ours: a larger hole than the published one gives less of the picture away."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"published": {"share": 0.5, "tries": 1}}

    share: float = Field(0.75, gt=0, le=1, description="edge of the square that is cut out, as a share of the picture's")
    tries: int = Field(4, ge=1, description="fillings per prompt")


ATTACK = Attack(
    "inpainting",
    title="Inpainting",
    paper="arXiv 2505.17013",
    settings=InpaintingSettings,
    means="pictures",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.inpainting.attack", "attack"),
    needs=("diffusion path",),
)
