"""Pictures that are none, are huge, or start programs."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random

from PIL import Image

from torture.mutate.plain_bytes import damaged

_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(pwned) (w) file closefile\nshowpage\n%%EOF\n"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def picture(data: bytes, random: Random) -> bytes:
    """A picture of another format, mode or size than a reader expects, or damaged as bytes."""
    return damaged(data, random) if random.random() < 0.35 else random.choice(_PICTURES)(random)


def _drawn(random: Random, mode: str, size: tuple[int, int], form: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 1 if mode in ("1", "L", "P", "I;16") else None).save(out, form, **options)
    return out.getvalue()


def _declared(random: Random) -> bytes:
    """A PNG whose header says more than it holds."""
    edges = random.choice(((60_000, 60_000), (2**31 - 1, 1), (0, 0), (1, 2**31 - 1), (8193, 8193), (16, 0)))
    header = struct.pack(
        ">IIBBBBB", *edges, random.choice((1, 8, 16, 3)), random.choice((0, 2, 3, 6, 5)), 0, 0, random.choice((0, 1, 9))
    )
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


def _bomb(random: Random) -> bytes:
    """A PNG with a comment that unpacks to 64 MiB."""
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26), 9))
    whole = _drawn(random, "RGB", (16, 16), "PNG")
    return whole[:33] + text + whole[33:]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _turned(random: Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = random.choice((3, 6, 8, 0, 99))
    return _drawn(random, "RGB", (16, 24), "JPEG", exif=exif)


_PICTURES: tuple[Callable[[Random], bytes], ...] = (
    _declared,
    _declared,
    _bomb,
    _turned,
    lambda random: _EPS,
    lambda random: _SVG,
    lambda random: b"P6 16 16 255 " + bytes(768),
    lambda random: b"P6 100000 100000 255 " + bytes(768),
    lambda random: _drawn(random, random.choice(("1", "L", "P", "RGBA", "I;16", "LA")), (16, 16), "PNG"),
    lambda random: _drawn(random, random.choice(("RGB", "CMYK", "L")), (16, 16), "JPEG"),
    lambda random: _drawn(random, "RGB", random.choice(((1, 1), (1, 4000), (4000, 1), (17, 15))), "PNG"),
    lambda random: _drawn(random, "RGB", (16, 16), random.choice(("GIF", "BMP", "TIFF", "PPM", "ICO", "PDF", "WEBP"))),
)
