"""Generators of random numbers: every one is passed in, none is global."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator


def stream(seed: int, *names: str) -> Generator:
    """A CPU generator that depends on the seed and the names alone."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
