"""Stable Diffusion 1.x as the benchmarks measure it: the published shape, without its weights."""

from __future__ import annotations

from pathlib import Path

import torch

import excise
from excise.models.footprint import Footprint

CONFIGS = Path(excise.__file__).parent / "models" / "configs" / "sd1"
"""A folder that describes every network of it, and holds no weights."""


def footprint(dtype: torch.dtype = torch.float32) -> Footprint:
    """It without numbers: what passes take can be counted."""
    return Footprint(CONFIGS, dtype)
