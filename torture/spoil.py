"""Spoiling one file of a folder, as its kind asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from torture.mutate import damaged, json_text, packed_lines, picture, table, tensor_file, yaml_text
from torture.sandbox import Sandbox
from torture.strange_files import pickled, put_strange

MUTATORS: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": json_text,
    ".safetensors": tensor_file,
    ".png": picture,
    ".jpg": picture,
    ".csv": table,
    ".yaml": yaml_text,
    ".gz": packed_lines,
}


def spoil(sandbox: Sandbox, path: Path, random: Random) -> tuple[str, ...]:
    """Change a file, or put something strange or a pickle in its place. Returns the words of which an error about it must have one."""
    how = random.random()
    if how < 0.08:
        if put_strange(sandbox, path, random) == "elsewhere":
            return path.name, path.parent.name, "secret.txt"
    elif how < 0.1:
        sandbox.own(path, pickled(sandbox, random))
    else:
        sandbox.own(path, MUTATORS.get(path.suffix, damaged)(path.read_bytes(), random))
    return path.name, path.parent.name


def files(folder: Path) -> list[Path]:
    """Every file of a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
