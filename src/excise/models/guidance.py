"""Classifier-free guidance (arXiv 2207.12598): whether a sampler guides, and how. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def sampling_scale(scale: float) -> float:
    """The guidance scale that a sampler works with when it is told `scale`: 1, which is no guidance, for every scale up to 1.

    This is what diffusers does (`StableDiffusionPipeline.do_classifier_free_guidance`): told 0 it makes the same picture as told 1, the one
    that the prompt alone gives. `guided` itself takes every scale at its word; attacks that turn guidance down or round use it so.
    """
    return max(scale, 1.0)


def guided(without: Tensor, with_: Tensor, scale: float) -> Tensor:
    """Guided prediction, without + scale (with_ - without); all shapes (b, c, h, w).

    without, with_ the network's outputs for the empty prompt and for the prompt
    scale          any number: 1 gives `with_`, 0 gives `without`, less leads away from the prompt
    """
    return without + scale * (with_ - without)
