"""What `excise evaluate --downstream` measures: a task that rides on the model and never names a concept, before an edit and with it."""

from __future__ import annotations

from typing import Literal

from excise.figures import Figure, ResultRecord
from excise.results.upscaled import UpscaleSettings

Group = Literal["other", "near", "erased"]
"""Pictures without the concept and what is like it, pictures of what is most like it, pictures of the concept itself."""


class Likeness(ResultRecord):
    """How like the true pictures others are, or how much that has changed.

    psnr, ssim in dB, at most 1; apart: in the maps of the model's own classifier, 0 is the same; lpips None where it was not measured
    recognised share in which the classifier sees what the true picture shows
    """

    psnr: Figure
    ssim: Figure
    apart: Figure
    lpips: Figure | None = None
    recognised: Figure


class DownstreamGroup(ResultRecord):
    """One group of pictures.

    concepts     labels of what they show
    low          the low pictures, enlarged
    base, edited restored by the model before and with the edit, from the same noise; change: edited less base, in pairs
    noise        restored with noise of the edit's norm in the weights that it changes, tensor by tensor; noise_change: that less base
    """

    group: Group
    concepts: tuple[str, ...]
    n: int
    low: Likeness
    base: Likeness
    edited: Likeness
    change: Likeness
    noise: Likeness | None = None
    noise_change: Likeness | None = None


class Downstream(ResultRecord):
    """Super-resolution with the restorer that was trained on the base model.

    pictures where the true ones are from
    note     why there is no control with noise; empty if there is
    lpips    AlexNet's weights; None where they were not given
    """

    task: Literal["sr"] = "sr"
    groups: tuple[DownstreamGroup, ...]
    pictures: str
    settings: UpscaleSettings
    note: str = ""
    lpips: str | None = None
