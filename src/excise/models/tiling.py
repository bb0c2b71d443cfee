"""Large pictures go through the autoencoder in tiles, as diffusers cuts and blends them: whole, they would take more than the denoiser does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WHOLE = 2**20
"""Pixels of a picture that is coded whole (ours: the largest pictures that the families make by themselves)."""


@contextmanager
def tiled(vae: Any, pixels: int) -> Iterator[None]:
    """The autoencoder works in tiles inside the block, if a picture has more pixels than `WHOLE`. Where tiles meet, a picture is a little
    another one."""
    if pixels <= WHOLE or vae.use_tiling:
        yield
        return
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
