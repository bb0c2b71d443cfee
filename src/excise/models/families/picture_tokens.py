"""Pictures as transformers take them: a token for 2 x 2 numbers of each channel of the latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

PATCH = 2
"""Rows and columns of latents that are one token of the picture."""


def packed(latents: Tensor) -> Tensor:
    """Latents (b, c, h, w) as tokens of 2 x 2 of their pixels, (b, h/2 w/2, 4 c)."""
    cells = latents.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))  # b, c, rows, 2, columns, 2
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The latents (b, c, 2 rows, 2 columns) of tokens."""
    cells = tokens.unflatten(2, (-1, PATCH, PATCH)).unflatten(1, (rows, columns))  # b, rows, columns, c, 2, 2
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def size_shift(config: Mapping[str, Any], height: int, width: int, max_shift: float = 1.15) -> dict[str, float]:
    """What a scheduler is told of the size of latents, if its noise levels depend on it (mu).

    max_shift  of the pipeline, where the scheduler's config names none
    """
    if not config.get("use_dynamic_shifting"):
        return {}
    mu = calculate_shift(
        (height // PATCH) * (width // PATCH),
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", max_shift),
    )
    return {"mu": mu}
