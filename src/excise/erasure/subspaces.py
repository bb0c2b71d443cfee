"""Which parameters of the denoiser a method may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from excise.models import Model

Parameters = Literal["kv", "tokens", "attn2", "attn1", "attn", "attn-kv", "text-kv", "text-qk", "not-attn2", "noxattn", "full"]


def select(model: Model, parameters: Parameters) -> list[str]:
    """Canonical names of the selected tensors, in network order.

    kv         the entrances: all that the text passes through (of SD 1.x keys and values of cross-attention, 19.2 M weights)
    tokens     those of them that read the tokens; a pooled row still comes in
    attn2      all of cross-attention (44.0 M)
    attn1      all of self-attention
    attn       both; of a transformer the linear layers of attention in which pictures and text meet
    attn-kv    of a transformer keys and values of that attention, of pictures and of text
    text-kv    keys and values of the text's stream alone
    text-qk    its queries and keys (EraseAnything, arXiv 2412.20413, trains a LoRA on these)
    not-attn2  everything but cross-attention
    noxattn    the same without the time embedding and the last block (ESD-u)
    full       everything

    Raises ValueError if nothing is selected: not every family of models has all of them.
    """
    return select_first(model, [parameters])


def select_first(model: Model, choices: Sequence[Parameters]) -> list[str]:
    """What `select` gives for the first of several that the model has: methods say what takes the place of a U-Net's in a transformer.

    Raises ValueError if it has none of them.
    """
    chosen = next((names for parameters in choices if (names := model.subspace(parameters))), None)
    if chosen is None:
        raise ValueError(f"{model.name} has no parameters of kind {' or '.join(map(repr, choices))}")
    return chosen
