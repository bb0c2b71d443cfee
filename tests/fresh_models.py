"""A model that a test has for itself, without reading its files again: loading a tiny one takes five times as long as copying it."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

from excise.models import Model, load


@cache
def _loaded(folder: Path, dtype: str) -> Model:
    return load(folder, device="cpu", dtype=dtype)


def fresh(folder: Path, dtype: str = "float32") -> Model:
    """The model of a folder that nobody writes to, on the CPU, as `load` gives it."""
    model = copy.deepcopy(_loaded(folder, dtype))
    for part in model.pipeline.components.values():
        if isinstance(part, CLIPTokenizer):
            part._wrap_decode_method_backend_tokenizer()  # as when it is made: how it writes words is not copied
    return model
