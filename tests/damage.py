"""Damaged files, drawn by a seed: bytes, JSON and tensors as no writer leaves them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 10**9, 10**15, -(10**18), 2**63, 1e308, 0.5, "", "x", "../../x", "é" * 300, [], [None], [1] * 1000, {},
    {"a": 1}, [[[[]]]],
)  # fmt: skip
"""What stands in JSON in the place of what should."""

DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.int64, torch.bool, torch.complex64, torch.uint8)
"""What weights are not kept in."""


def damage_bytes(path: Path, random: random.Random) -> str:
    """Cut, flip, blank or lengthen a file."""
    data = bytearray(path.read_bytes())
    how = random.choice(["cut", "flip", "blank", "empty", "longer", "twice"])
    place = random.randrange(len(data))
    if how == "cut":
        del data[place:]
    elif how == "flip":
        for _ in range(8):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif how == "blank":
        data[place : place + 200] = bytes(len(data[place : place + 200]))
    elif how == "empty":
        data.clear()
    elif how == "longer":
        data += bytes(100)
    else:
        data += bytes(data)
    path.write_bytes(data)
    return f"{how} at {place}"


def damage_json(path: Path, random: random.Random) -> str:
    """Another value, a key that is gone, or one too many, anywhere in a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    places = list(_places(data))
    keys = random.choice([place for place in places if len(place) <= 1] if random.random() < 0.5 else places)
    parent = data
    for key in keys[:-1]:
        parent = parent[key]
    value = random.choice(VALUES)
    if not keys:
        data = value
    elif random.random() < 0.2:
        del parent[keys[-1]]
        value = "nothing"
    else:
        parent[keys[-1]] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    return f"{'.'.join(map(str, keys))} = {str(value)[:40]}"


def _places(data: Any, at: tuple[Any, ...] = ()) -> Any:
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from _places(value, (*at, key))


def damage_tensors(path: Path, random: random.Random) -> str:
    """Other names, shapes, dtypes or values in a safetensors file, which stays a whole one."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    name = random.choice(sorted(tensors))
    how = random.choice(sorted(SHAPES | VALUED.keys() | {"gone", "renamed", "more", "dtype", "all gone"}))
    if how in SHAPES:
        tensors[name] = SHAPED[how](tensors[name])
    elif how in VALUED:
        tensors[name] = VALUED[how](tensors[name])
    elif how == "dtype":
        tensors[name] = tensors[name].to(random.choice(DTYPES))
    elif how == "more":
        tensors[random.choice(["x", f"{name}.x", f"{name}:delta", ":up", "transport:x:weight"])] = torch.ones(2, 3)
    elif how == "all gone":
        tensors.clear()
    else:
        tensor = tensors.pop(name)
        if how == "renamed":
            tensors[name[::-1]] = tensor
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, path, metadata)
    return f"{name} {how}"


SHAPED: dict[str, Callable[[Tensor], Tensor]] = {
    "flat": lambda t: t.flatten(),
    "turned": lambda t: t.T if t.ndim == 2 else t.flip(0)[None],
    "fewer": lambda t: t[:-1] if t.ndim else t[None][:0],
    "longer": lambda t: torch.cat([t, t]) if t.ndim else torch.stack([t, t]),
    "deeper": lambda t: t[None],
    "one": lambda t: t.flatten()[:1] if t.numel() else torch.ones(1),
    "number": lambda t: torch.tensor(1.0),
    "empty": lambda t: t.flatten()[:0],
    "broadcast": lambda t: t[:1] if t.ndim else t[None, None],
}
SHAPES = SHAPED.keys()
VALUED: dict[str, Callable[[Tensor], Tensor]] = {
    "not a number": lambda t: torch.full_like(t, float("nan")) if t.is_floating_point() else t,
    "infinite": lambda t: torch.full_like(t, float("inf")) if t.is_floating_point() else t,
}


def outcome(work: Callable[[], Any], *named: str) -> str:
    """How some work ended: "works", "told", or what is wrong with it: another error than of bad input, or no line that names the file."""
    from excise.cli.errors import USAGE

    try:
        work()
    except USAGE as error:
        line = str(error)
        if len(line) > 2000 or "\n" in line:
            return f"long: {line[:300]!r}"
        return "told" if any(name in line for name in named) else f"unnamed: {type(error).__name__}: {line[:300]}"
    except FloatingPointError as error:  # the numbers were whole, and what came out was not
        return "told" if "not finite" in str(error) else f"unexpected: {error}"
    except BaseException as error:  # also what Rust panics with
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"unexpected: {type(error).__name__}: {str(error)[:300]}"
    return "works"
