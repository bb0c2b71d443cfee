"""Edits in a form that other programs load."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from excise.files import write_tensors
from excise.jobs.inputs import check_new_file, read_edits

if TYPE_CHECKING:
    from excise.edits.lora import LoRA


def export(
    edit: str | Path | Sequence[str | Path],
    *,
    to: str | Path,
    rank: int | None = None,
    scale: float = 1.0,
    overwrite: bool = False,
) -> LoRA:
    """Write edits as one LoRA file in kohya's dialect, and return what is in it.

    edit  folders of edits of one base, which are added up
    to    the file, .safetensors
    rank  largest rank of a weight's change; default as many as lose nothing but rounding
    scale strength of all of them

    The base model is not needed, and what loads the file will not check it: its name and fingerprint are in the metadata, key "excise".

    Raises ValueError for an edit that such a file cannot hold (an adapter; changes of biases, norms or embeddings), edits of different
    bases, or wrong options; FileNotFoundError; FileExistsError if the file may not be replaced.
    """
    if Path(to).suffix != ".safetensors":
        raise ValueError(f"{to} must end in .safetensors")
    if rank is not None and rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"scale must be finite and not 0, got {scale}")
    check_new_file(to, overwrite)
    from excise.edits import check_weights, compose
    from excise.edits.lora import LoRA

    edits = read_edits(edit)
    check_weights(edits, "written as a LoRA")
    whole = edits[0] if len(edits) == 1 else compose(edits)
    manifest = whole.manifest
    lora = LoRA.of(whole.scaled(scale), rank)
    about = {
        "model": manifest.model, "base": manifest.base, "method": manifest.method, "concepts": manifest.names, "scale": scale,
        "edits": [one.manifest.weights_sha256 for one in edits], "error": lora.error,
    }  # fmt: skip
    write_tensors(Path(to), lora.tensors, {"excise": json.dumps(about)})
    return lora
