"""Whether an evaluation of the canvas in fewer steps of another sampler gives the same rates.

    python benchmarks/fewer_steps.py                                   # ten minutes of one CPU core
    python benchmarks/fewer_steps.py --show docs/benchmark/fewer_steps.json

Edits that erase well, too little and too much are evaluated with the model's own sampler and with others: the same prompts and seeds, bfloat16.
A sampler's differences from the model's own stand with 95 % intervals over concepts (bootstrap). Results go to
docs/benchmark/fewer_steps.json; the same command goes on with what is there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import excise
import recorded
from excise.edits import Edit
from excise.evaluation import evaluate
from excise.files import read_json, write_json
from excise.models import load
from excise.models.drawing import Drawing
from excise.requests.grid import Entrant
from excise.results.evaluation import Evaluation
from markdown_table import markdown
from timing import machine

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmark" / "fewer_steps.json"
EDITS = (
    ("uce", "cat"), ("uce", "style:neon"), ("uce:preserve=catalog", "dog"), ("mim:rounds=0", "style:sketch"), ("mim", "cat"),
    ("cure:alpha=1e3", "house"),
)  # fmt: skip
"""Entrant and concept (ours)."""
OWN = Drawing()
SAMPLERS = (Drawing(steps=10), Drawing(steps=10, scheduler="DPMSolverMultistepScheduler"))
PICTURES = {"target_pictures": 96, "other_pictures": 4}
COLUMNS = ("sampler", "base right", "erased concept shown", "kept concepts right", "FID, largest", "verdicts")


def measure(out: Path) -> dict[str, Any]:
    """An evaluation of every edit by every sampler, written after each; what the file has is not made again."""
    torch.set_num_threads(1)
    found = read_json(out) if out.is_file() else {"pictures": PICTURES, "cells": [], "machine": machine()}
    there = [(each["entrant"], each["concept"], each["drawing"]) for each in found["cells"]]
    for text, concept in EDITS:
        missing = [drawing for drawing in (OWN, *SAMPLERS) if (text, concept, _told(drawing)) not in there]
        edit = _edit(text, concept) if missing else None
        for drawing in missing:
            model = load("canvas", device="cpu", dtype="mixed")
            model.draw(drawing)
            figures = evaluate(model, [model.catalog.resolve(concept)], edit, quality=True, **PICTURES)
            evaluation = figures.model_dump(mode="json", exclude_none=True)
            found["cells"].append({"entrant": text, "concept": concept, "drawing": _told(drawing), "evaluation": evaluation})
            write_json(out, found)
            print(f"{text} {concept} {_told(drawing)}", file=sys.stderr, flush=True)
    return found


def _edit(text: str, concept: str) -> Edit:
    entrant = Entrant.parse(text)
    settings = entrant.settings.model_dump(exclude_unset=True)
    return excise.erase(concept, method=entrant.method.name, settings=settings, evaluate="none", device="cpu").edit


def _told(drawing: Drawing) -> dict[str, Any]:
    """What is not the model's own."""
    return {name: value for name, value in asdict(drawing).items() if value is not None}


def table(found: dict[str, Any]) -> list[str]:
    """Lines of Markdown: a row for each sampler, its differences in points from the model's own."""
    cells = {}
    for each in found["cells"]:
        cells.setdefault(json.dumps(each["drawing"]), []).append((each, Evaluation.model_validate(each["evaluation"])))
    own = cells.pop("{}")
    return markdown(COLUMNS, [_row(json.loads(drawing), several, own) for drawing, several in cells.items()])


def _row(drawing: dict[str, Any], cells: list[Any], own: list[Any]) -> tuple[str, ...]:
    pairs = [(one, other) for (_, one), (_, other) in zip(cells, own, strict=True)]
    base, shown, kept = [], [], []
    for one, other in pairs:
        shown += [a.edited - b.edited for a, b in zip(one.targets, other.targets, strict=True)]
        base += [a.base - b.base for a, b in zip(one.retained, other.retained, strict=True)]
        kept += [a.edited - b.edited for a, b in zip(one.retained, other.retained, strict=True)]
    fids = [(one.fid_base.value, other.fid_base.value) for one, other in pairs if one.fid_base and other.fid_base]
    gone = [tuple(each.erased - each.neutral.value <= 0.05 for each in pair) for pair in pairs]
    name = f"{drawing['steps']} steps" + (" of DPM-Solver++" if "scheduler" in drawing else "")
    furthest = max(fids, key=lambda pair: abs(pair[0] - pair[1]))
    return (
        name, _points(base), _points(shown), _points(kept), f"{furthest[1]:.2f} → {furthest[0]:.2f}",
        f"{sum(one == other for one, other in gone)} of {len(gone)}",
    )  # fmt: skip


def _points(differences: list[float]) -> str:
    """Mean difference in points with its interval over concepts."""
    values, chance = 100 * np.asarray(differences), np.random.default_rng(0)
    means = chance.choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    recorded.main(__doc__, RESULTS, measure, table)
