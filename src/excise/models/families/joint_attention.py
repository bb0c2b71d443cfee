"""Attention in which pictures and text meet, in transformers of two streams, and what may be trained of it."""

from __future__ import annotations

import re

LAYERS = re.compile(r"\.attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)\.(weight|bias)$")
"""Its linear layers, as diffusers calls them. What SD 3.5 calls `attn2` is attention of pictures to themselves."""


SUBSPACES = {
    "attn-kv": ("to_k", "to_v", "add_k_proj", "add_v_proj"),  # rohitgandikota/erasing: utils/esd_trainer.py
    "text-kv": ("add_k_proj", "add_v_proj"),
    "text-qk": ("add_q_proj", "add_k_proj"),  # EraseAnything, arXiv 2412.20413
}
"""Layers of each subspace, beside "attn", which is all of them."""


def in_joint_attention(name: str, subspace: str) -> bool:
    """Whether a parameter belongs to a subspace of this attention."""
    found = LAYERS.search(name)
    return found is not None and (subspace == "attn" or found[1] in SUBSPACES.get(subspace, ()))
