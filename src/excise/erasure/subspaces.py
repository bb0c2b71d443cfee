"""Which parameters of the denoiser a method may change."""

from __future__ import annotations

from typing import Literal

from excise.models import Model

Parameters = Literal["kv", "attn2", "attn1", "attn", "not-attn2", "noxattn", "full"]


def select(model: Model, parameters: Parameters) -> list[str]:
    """Canonical names of the selected tensors, in network order.

    kv         the entrances: all that the text passes through (of SD 1.x keys and values of cross-attention, 19.2 M weights)
    attn2      all of cross-attention (44.0 M)
    attn1      all of self-attention
    attn       both
    not-attn2  everything but cross-attention
    noxattn    the same without the time embedding and the last block (ESD-u)
    full       everything

    Raises ValueError if nothing is selected: not every family of models has all of them.
    """
    chosen = model.subspace(parameters)
    if not chosen:
        raise ValueError(f"{model.name} has no parameters of kind {parameters!r}")
    return chosen
