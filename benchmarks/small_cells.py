"""Three cells of docs/benchmark made small: figures that must not change when the code is moved about.

    python benchmarks/small_cells.py          prints what the present code gives
    python benchmarks/small_cells.py --write  writes it to docs/benchmark/small_cells.json, where tests/test_small_cells.py reads it

A cell here erases with few steps, and looks at few pictures. Its digests are of bits, which another processor or another version of torch may
round otherwise; its figures are not.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

import excise
from excise.digests import digest_tensors

FILE = Path(__file__).parents[1] / "docs" / "benchmark" / "small_cells.json"
CELLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mim-cat": ("mim", "cat", {"rounds": 1, "steps": 3, "batch": 2, "trajectories": 2, "sampler_steps": 3}),
    "uce-sketch": ("uce", "style:sketch", {"preserve": "catalog"}),
    "esd-dog": ("esd", "dog", {"rounds": 1, "steps": 3, "batch": 2, "trajectories": 2, "sampler_steps": 3}),
}


def machine() -> dict[str, str]:
    """What decides how sums are rounded."""
    return {"torch": torch.__version__, "processor": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability()}


def cell(method: str, concept: str, settings: dict[str, Any]) -> dict[str, Any]:
    """An erasure with seed 0: digests of the edit and of two pictures, the size of the change, nats before and after."""
    edit = excise.erase(concept, method=method, settings=settings, evaluate="none", steps=5, device="cpu").edit
    model = excise.load("canvas", device="cpu")
    erased = model.catalog.resolve(concept)
    with edit.applied(model):
        pictures = model.sample([erased.plain_pairs()[0].prompt, "a picture of a house"], [0, 1], steps=5)
    other = model.catalog.resolve("house")
    found = excise.measure(model, [erased], edit=edit, against=[other], budget=600)
    return {
        "edit": digest_tensors(edit.tensors()),
        "pictures": digest_tensors({"pictures": pictures}),
        "change": sum(float(delta.dense().square().sum()) for delta in edit.deltas.values()) ** 0.5,
        "brightness": [float(picture.mean()) for picture in pictures],
        "nats": [
            forms.orthogonal.value
            for forms in (found.concepts[0].conditional.base, found.concepts[0].conditional.edited)
            if forms
        ],
    }


def cells() -> dict[str, Any]:
    """All of them, on one thread whatever the machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: cell(*asked) for name, asked in CELLS.items()}
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name}")
    arguments = parser.parse_args()
    text = json.dumps({"machine": machine(), "cells": cells()}, indent=1)
    print(text)
    if arguments.write:
        FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
