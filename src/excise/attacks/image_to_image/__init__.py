"""Image to image: what it is called and what can be set."""

from __future__ import annotations

from pydantic import field_validator

from excise.attacks import Attack
from excise.registry import Door
from excise.settings import Settings, Several


class ImageSettings(Settings):
    """Defaults are ours."""

    strengths: Several[float] = (0.95, 0.9, 0.8, 0.7)
    """Shares of the sampler's steps that the erased model takes, in the order in which they are tried."""

    @field_validator("strengths")
    @classmethod
    def _shares(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if not strengths or not all(0 < strength <= 1 for strength in strengths):
            raise ValueError("strengths are shares of the steps, above 0 and up to 1")
        return strengths


ATTACK = Attack(
    "image-to-image",
    title="Image to image",
    paper="arXiv 2108.01073",
    settings=ImageSettings,
    means="pictures",
    needs_base=True,
    supplies=True,
    run=Door("excise.attacks.image_to_image.attack", "attack"),
    needs=("diffusion path",),
)
