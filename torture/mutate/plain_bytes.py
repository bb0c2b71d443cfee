"""Damage that any file can have."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Damage = Callable[[bytes, Random], bytes]


def damaged(data: bytes, random: Random) -> bytes:
    """A file cut, torn, flipped, encoded otherwise, or replaced by one of another kind."""
    return random.choice(_DAMAGES)(data, random)


def _flipped(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 3, 30)) if data else 0):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwritten(data: bytes, random: Random) -> bytes:
    at, more = random.randrange(len(data) + 1), random.randbytes(random.choice((1, 8, 200)))
    return data[:at] + more + data[at + len(more) :]


def _inserted(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice((b"\0", b"\xff\xfe", b"\x1b[2J", b"9" * 5000, b"[" * 3000, b"\r", b'"')) + data[at:]


_DAMAGES: tuple[Damage, ...] = (
    _flipped,
    _flipped,
    _overwritten,
    _inserted,
    lambda data, random: data[: random.randrange(len(data) + 1)],
    lambda data, random: data + random.randbytes(random.choice((1, 100))),
    lambda data, random: data + data,
    lambda data, random: bytes(len(data)),
    lambda data, random: b"",
    lambda data, random: random.randbytes(random.choice((1, 8, 64, 1000))),
    lambda data, random: b"\xef\xbb\xbf" + data,
    lambda data, random: data[:100_000].decode("latin-1").encode("utf-16"),
    lambda data, random: b"PK\x03\x04" + data,
    lambda data, random: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
)
