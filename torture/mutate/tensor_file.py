"""Safetensors files that say or hold something else; written here, since libraries refuse to write most of them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from torture.mutate.plain_bytes import damaged
from torture.mutate.strings import HOSTILE

_SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "C64": 8,
}
_FLOATS = (math.nan, math.inf, -math.inf, 3e38, 1e30, -1e30, 1e-40, 0.0)
_SHAPES: tuple[list[int], ...] = (
    [],
    [0],
    [1],
    [1, 1],
    [0, 5],
    [3],
    [2, 3, 4],
    [1] * 40,
    [2**40],
    [2**31, 2**31],
    [1, 2**62],
    [-1],
)

Header = dict[str, Any]


def tensor_file(data: bytes, random: Random) -> bytes:
    """A safetensors file after one or two changes of its header or its numbers, or damaged as bytes."""
    if random.random() < 0.15:
        return damaged(data, random)
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    for _ in range(random.choice((1, 1, 2))):
        random.choice(_CHANGES)(header, body, random)
    return _packed(header, body, random)


def _packed(header: Header, body: bytearray, random: Random) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    length = len(text)
    if random.random() < 0.03:
        length = random.choice((0, 1, length - 1, length + 1, 2**27, 2**40, 2**63))
    return struct.pack("<Q", length) + text + bytes(body)


def _pick(header: Header, random: Random) -> tuple[str, dict[str, Any]]:
    names = [name for name, about in header.items() if name != "__metadata__" and _whole(about)]
    name = random.choice(names) if names else "none"
    return name, header.setdefault(name, {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})


def _whole(about: Any) -> bool:
    """Whether a tensor's place may be one; a change may have put it anywhere."""
    offsets = about.get("data_offsets", ()) if isinstance(about, dict) else ()
    return len(offsets) == 2 and all(isinstance(place, int) and 0 <= place < 2**30 for place in offsets)


def _numbers(header: Header, body: bytearray, random: Random) -> None:
    """One value, or all of them, beyond what anybody expects."""
    _, about = _pick(header, random)
    begin, end = about["data_offsets"]
    if about["dtype"] != "F32" or end - begin < 4:
        return
    value = struct.pack("<f", random.choice(_FLOATS))
    if random.random() < 0.5:
        body[begin:end] = value * ((end - begin) // 4)
    else:
        at = begin + 4 * random.randrange((end - begin) // 4)
        body[at : at + 4] = value


def _moved(header: Header, body: bytearray, name: str, about: dict[str, Any], new: bytes) -> None:
    """Give a tensor other bytes and all that come after it other places, so that the file is whole."""
    begin, end = about["data_offsets"]
    body[begin:end] = new
    for other in header.values():
        if _whole(other) and other is not about:
            other["data_offsets"] = [
                place + len(new) - (end - begin) if place >= end else place for place in other["data_offsets"]
            ]
    about["data_offsets"] = [begin, begin + len(new)]


def _shaped(header: Header, body: bytearray, random: Random) -> None:
    """Another shape, with as many bytes as it takes where that is not too many."""
    name, about = _pick(header, random)
    old = about["shape"]
    shape = random.choice(
        (*_SHAPES, old[::-1], old[:-1], [*old, 1], [1, *old], [2 * n for n in old], [max(0, n - 1) for n in old])
    )
    about["shape"] = shape
    size = math.prod(shape) * _SIZES.get(about["dtype"], 4)
    if 0 <= size < 2**20 and random.random() < 0.8:
        _moved(header, body, name, about, random.randbytes(size) if random.random() < 0.2 else bytes(size))


def _typed(header: Header, body: bytearray, random: Random) -> None:
    """Another dtype, with as many bytes as it takes."""
    name, about = _pick(header, random)
    about["dtype"] = random.choice((*_SIZES, "F4", "F128", "", "float32", None))
    if about["dtype"] in _SIZES and random.random() < 0.85:
        _moved(header, body, name, about, bytes(max(0, math.prod(about["shape"])) % 2**20 * _SIZES[about["dtype"]]))


def _renamed(header: Header, body: bytearray, random: Random) -> None:
    name, _ = _pick(header, random)
    new = random.choice(
        (
            *HOSTILE,
            f"{name}.x",
            name.replace(".", "/"),
            name.replace("0", "9"),
            name.replace("to_k", "to_q"),
            name.upper(),
            name[:-7],
        )
    )
    header[new] = header.pop(name)


def _deleted(header: Header, body: bytearray, random: Random) -> None:
    name, about = _pick(header, random)
    _moved(header, body, name, about, b"")
    del header[name]


def _added(header: Header, body: bytearray, random: Random) -> None:
    name, _ = _pick(header, random)
    new = random.choice((*HOSTILE, f"{name}.more", "lora_unet_x.alpha", "unet.conv_in.weight", "0", "alpha"))
    header[new] = {"dtype": "F32", "shape": [2], "data_offsets": [len(body), len(body) + 8]}
    body.extend(bytes(8))


def _placed(header: Header, body: bytearray, random: Random) -> None:
    """Data at a place that overlaps, lies beyond the end, or runs backwards."""
    _, about = _pick(header, random)
    about["data_offsets"] = random.choice(([0, 8], [8, 0], [0, 2**40], [len(body), len(body) + 4], [-8, 0], [0.5, 4], [], [0]))


def _noted(header: Header, body: bytearray, random: Random) -> None:
    """Other metadata."""
    value = random.choice((*HOSTILE, "[]", "{}", "[[1, 2]]", '{"a": ' * 500, 7, None, ["x"]))
    metadata = header.get("__metadata__")
    metadata = metadata if isinstance(metadata, dict) else {"excise": ""}
    header["__metadata__"] = random.choice((value, {key: value for key in metadata}, {**metadata, "more": value}, {}))
    if random.random() < 0.2:
        header.pop("__metadata__")


_CHANGES: tuple[Callable[[Header, bytearray, Random], None], ...] = (
    _numbers, _numbers, _shaped, _shaped, _shaped, _typed, _typed, _renamed, _renamed, _deleted, _added, _placed, _noted,
)  # fmt: skip
