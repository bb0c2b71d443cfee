"""Packed JSON files: gzip whose lines are cut, twice, of another shape or lead elsewhere, or which unpacks to more than memory holds."""

from __future__ import annotations

import gzip
from random import Random

from torture.mutate.json_text import json_text
from torture.mutate.plain_bytes import damaged

_BOMB = 2**28
"""Bytes: four times what a text file may have."""


def packed_lines(data: bytes, random: Random) -> bytes:
    """One line changed as JSON, doubled or damaged, then gzipped again; or the bytes themselves damaged; seldom a bomb."""
    how = random.random()
    if how < 0.2:
        return damaged(data, random)
    if how < 0.23:
        return gzip.compress(random.choice((b"\n", b"[", b" ", b"\0")) * _BOMB, 1)
    lines = gzip.decompress(data).splitlines(keepends=True)
    place = random.randrange(len(lines))
    if how < 0.35:
        lines.insert(random.randrange(len(lines)), lines[place])
    elif how < 0.5:
        lines[place] = damaged(lines[place], random)
    elif how < 0.65:
        lead = random.choice(
            (b"../../../secret", b"/etc/secret", b"a/b/c", b"", b"..", b"a\\\\b", b"a" * 5_000, b"\\u0000", b"\\ud800")
        )
        lines[place] = lines[place].replace(b'{"file": "', b'{"file": "' + lead + b"/", 1)
    else:
        lines[place] = json_text(lines[place], random).replace(b"\n", b" ") + b"\n"
    return gzip.compress(b"".join(lines))
