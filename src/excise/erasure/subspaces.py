"""Which parameters of the denoiser a method may change."""

from __future__ import annotations

from typing import Literal

from torch import nn

Parameters = Literal["kv", "attn2", "attn1", "attn", "not-attn2", "noxattn", "full"]


def select(unet: nn.Module, parameters: Parameters) -> list[str]:
    """Canonical names ("unet.….to_k.weight") of the selected tensors, in network order.

    kv         keys and values of cross-attention: all that the text passes through (19.2 M weights in SD 1.x)
    attn2      all of cross-attention (44.0 M)
    attn1      all of self-attention
    attn       both
    not-attn2  everything but cross-attention
    noxattn    the same without the time embedding and the last block (ESD-u)
    full       everything

    Raises ValueError if nothing is selected.
    """
    chosen = [f"unet.{name}" for name, _ in unet.named_parameters() if _matches(name, parameters)]
    if not chosen:
        raise ValueError(f"the model has no parameters of kind {parameters!r}")
    return chosen


def _matches(name: str, parameters: Parameters) -> bool:
    if parameters == "full":
        return True
    if parameters == "kv":
        return name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    if parameters in ("not-attn2", "noxattn"):
        outer = name.startswith(("time_embedding.", "conv_norm_out.", "conv_out."))
        return ".attn2." not in name and not (outer and parameters == "noxattn")
    if parameters == "attn":
        return ".attn1." in name or ".attn2." in name
    return f".{parameters}." in name
