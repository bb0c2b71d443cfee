"""Asking a model for pictures, and judging whether they show the concept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from excise.evaluation.detector import Detector
from excise.finite import check_finite
from excise.models import Conditioning, Model


def batches(model: Model, count: int) -> Iterator[slice]:
    """`count` rows in parts that the model takes at once."""
    size = model.batch(32)
    return (slice(start, start + size) for start in range(0, count, size))


def encode(model: Model, prompts: Sequence[str]) -> Conditioning:
    """The prompts encoded, one a row; each distinct prompt passes the text encoder once."""
    distinct = list(dict.fromkeys(prompts))
    return model.encode(distinct)[[distinct.index(prompt) for prompt in prompts]]


def sample(model: Model, conditioning: Conditioning, seeds: Sequence[int], *, signed_guidance: float | None = None) -> Tensor:
    """Finished latents (n, c, h, w) by the model's own sampler, from the noise of a seed for each of its prompts.

    signed_guidance a guidance scale that is taken at its word, also below 1; default the sampler's own
    """
    return model.latents(conditioning, seeds, guidance_scale=signed_guidance, signed=signed_guidance is not None)


def judge(model: Model, detector: Detector, latents: Tensor, pictures: Tensor | None = None) -> tuple[list[bool], list[float]]:
    """Whether each of these finished latents shows the concept, and how likely the detector finds that, 0–1.

    pictures what the detector looks at, if that is not the whole picture

    Raises FloatingPointError for latents that are not finite: that they show nothing is no evidence.
    """
    check_finite(latents, "a picture to judge")
    if pictures is None:
        pictures = torch.cat([model.decode(part) for part in latents.split(model.batch(32))])
    found, likely = detector(pictures)
    return found.tolist(), likely.tolist()
