"""Streams of random numbers: every generator is passed in, none is global, and all of them are derived here."""

from __future__ import annotations

from operator import index

from torch import Generator

from excise.digests import digest_text

STEP_NOISE = 1
"""Added to a picture's seed for the noise of its sampler's steps: the same generator would draw the start again. Caches of pictures know it."""


def seeded(seed: int) -> Generator:
    """A CPU generator that begins at a seed."""
    return Generator().manual_seed(index(seed))


def start_stream(seed: int) -> Generator:
    """What the start of a picture's sampling is drawn from."""
    return seeded(seed)


def step_stream(seed: int) -> Generator:
    """What the noise of a picture's sampling steps is drawn from, for samplers that add some."""
    return seeded(seed + STEP_NOISE)


def stream(seed: int, *names: str) -> Generator:
    """A CPU generator that depends on the seed and the names alone."""
    digest = bytes.fromhex(digest_text("\0".join([str(seed), *names])))
    return seeded(int.from_bytes(digest[:8], "little") >> 1)


def numbered_stream(seed: int, *numbers: int) -> Generator:
    """A CPU generator that depends on the seed and the numbers alone."""
    state = seed
    for number in numbers:
        state = (state * 1_000_003 + number + 1) % 2**63
    return seeded(state)
