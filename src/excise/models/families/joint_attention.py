"""Attention in which pictures and text meet, in transformers of two streams, and what may be trained of it."""

from __future__ import annotations

import re

LAYERS = re.compile(r"\.attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)\.(weight|bias)$")
"""Its linear layers, as diffusers calls them. What SD 3.5 calls `attn2` is attention of pictures to themselves."""


def in_joint_attention(name: str, subspace: str) -> bool:
    """Whether a parameter belongs to a subspace: attn is all linear layers of such attention, attn-kv its keys and values, of pictures and
    of text (rohitgandikota/erasing: utils/esd_trainer.py)."""
    found = LAYERS.search(name)
    if found is None:
        return False
    return subspace == "attn" or (subspace == "attn-kv" and found[1] in ("to_k", "to_v", "add_k_proj", "add_v_proj"))
