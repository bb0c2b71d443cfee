"""Small folders of results, as the jobs write them, with numbers that are known: for the report and its check in a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw

HOSTILE = ("<script>alert(1)</script>", "{{7*7}}", "\"><img src=x onerror='alert(2)'>", "größe $x^2$ ü 猫 \u202e")
"""Names that must be shown and never be obeyed."""

ENTRANTS = ("mim", "uce", "esd:variant=x")
CONCEPTS = ("object:cat", "object:dog", "style:sketch")
KEPT = ("object:cat", "object:dog", "object:bird", "style:sketch", "style:pixel art")

CURVE = {
    "log_snr_edges": [-9, -4, -1, 1, 4, 9],
    "base orthogonal": [0.1, 1, 3, 1, 0.1],
    "edited orthogonal": [0, 0.1, 0.2, 0, 0],
}
MAPS = {"base": [[0.1, 0.4], [0.6, 0.2]], "edited": [[0.0, 0.02], [0.03, 0.0]]}


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def cell(entrant: str, concept: str, seed: int = 0, *, ua: float = 0.95, kept: float = 0.9, **other: Any) -> dict[str, Any]:
    """A benchmark's cell; every kept concept keeps `kept` of the base model's 0.8, but the first of them half as much."""
    others = [label for label in KEPT if label != concept]
    shares = {label: {"base": 0.8, "edited": 0.8 * kept * (0.5 if label == others[0] else 1), "n": 24} for label in others}
    own = [label for label in others if label.split(":")[0] == concept.split(":")[0]]
    rest = [label for label in others if label not in own]

    def accuracy(labels: Sequence[str], model: str) -> float:
        return sum(shares[label][model] for label in labels) / len(labels)

    figures = {"ira": accuracy(own, "edited"), "cra": accuracy(rest, "edited")}
    return {
        "method": entrant.partition(":")[0], "entrant": entrant, "concepts": [concept], "seed": seed, "model": "canvas",
        "settings": {"lr": 0.001, "words": ["a", "b"]}, "ua": ua, "ua_ci": [ua - 0.03, min(1.0, ua + 0.02)], "erased": 1 - ua,
        "neutral": 0.02, "neutral_ci": [0.01, 0.04], **figures, "ira_ci": [figures["ira"] - 0.1, figures["ira"] + 0.1],
        "cra_ci": [figures["cra"] - 0.1, figures["cra"] + 0.1], "ira_of_base": figures["ira"] / 0.8, "cra_of_base": figures["cra"] / 0.8,
        "fid_base": 3.25, "fid_base_ci": [2.5, 4.0], "kid_base": 0.0012, "kid_base_ci": [0.001, 0.002],
        "base": {"ua": 0.04, "ua_ci": [0.02, 0.08], "ira": 0.8, "cra": 0.8, "neutral": 0.02, "neutral_ci": [0.01, 0.04]},
        "n": {"target": 200, "retained": 480}, "per_concept": shares,
        "per_target": {concept: {"base": 0.96, "edited": 1 - ua, "neutral": 0.02, "n": 200}},
        "protocol": {"name": "catalog", "variant": "uc-cross-excl", "sampler": {"steps": 20, "size": 64}},
        "seconds": 12.5, "edit_mb": 2.06, "base_fingerprint": {"float32": "a" * 64}, "versions": {"excise": "0.1.0"},
        "machine": "x86_64, 2 cores", "information": {"readings": [{"concept": concept, "curve": CURVE, "maps": MAPS}]}, **other,
    }  # fmt: skip


def write_bench(
    folder: Path, entrants: Sequence[str] = ENTRANTS, concepts: Sequence[str] = CONCEPTS, sheets: bool = True
) -> Path:
    """A folder of `excise bench`: each entrant keeps less than the one before, and the last one fails on the last concept."""
    write_json(
        folder / "bench.json", {"model": "canvas", "target_pictures": 200, "other_pictures": 24, "quality": True, "base": {}}
    )
    for place, entrant in enumerate(entrants):
        for number, concept in enumerate(concepts):
            noise = Random(f"{entrant} {concept}").uniform(-0.02, 0.02)
            path = folder / "cells" / f"m{place:02}" / f"c{number:02}-s0.json"
            made = cell(entrant, concept, ua=0.97 - 0.02 * place + noise, kept=max(0.2, 0.97 - 0.05 * place + noise))
            if (place, number) == (len(entrants) - 1, len(concepts) - 1):
                about = {key: made[key] for key in ("method", "entrant", "concepts", "seed", "settings", "model")}
                made = {**about, "error": "FloatingPointError: the loss is not a number", "traceback": "..."}
            elif sheets:
                write_picture(path.with_suffix(".png"))
            write_json(path, made)
    return folder


def write_erasure(folder: Path, name: str = "cat") -> Path:
    """A folder of `excise erase`."""
    made = cell("mim", f"object:{name}")
    keys = (
        "ua",
        "ua_ci",
        "ira",
        "ira_ci",
        "cra",
        "cra_ci",
        "neutral",
        "neutral_ci",
        "fid_base",
        "fid_base_ci",
        "n",
        "base",
        "per_concept",
    )
    result = {key: made[key] for key in (*keys, "per_target", "protocol", "seconds")}
    result |= {"bytes": 2162688, "rank": 4, "peak_mb": 900.0, "note": "", "seed": 0, "model": "canvas", "method": "mim"}
    write_json(folder / "result.json", {**result, "concepts": [f"object:{name}"]})
    write_json(
        folder / "edit.json",
        {
            "format": 1, "kind": "weights", "model": "canvas", "base": {"float32": "b" * 64}, "method": "mim",
            "concepts": [{"name": name, "kind": "object", "phrases": [f"a {name}"]}], "settings": {"lr": 0.001, "target": "masked"},
            "seed": 0, "versions": {"excise": "0.1.0"}, "weights_sha256": "c" * 64, "measurements": result, "ledger": [],
        },
    )  # fmt: skip
    write_picture(folder / "before_after.png")
    return folder


def write_audit(folder: Path, name: str = "cat") -> Path:
    """A folder of `excise audit`: one attack that revives, one that was not made."""
    share = {"n": 24, "pre": 0, "broken": 12, "rate": 0.5, "ci": [0.314, 0.686], "untried": 0, "calls": 5760, "seconds": 61.3}
    control = {**share, "broken": 1, "rate": 1 / 24, "ci": [0.007, 0.202]}
    told = {"paper": "arXiv 2510.03302", "means": "sampler", "settings": {"kappas": [-1.0, 3.0]}, "budget": 8000, "seed": 0}
    guidance = {
        **told, "text": "guidance", "attack": "guidance", "title": "Signed guidance sweep", "verdict": "revived",
        "above": {"neutral": [0.46, 0.2, 0.6]}, "models": {"erased": share, "neutral": control},
    }  # fmt: skip
    lora = {**told, "text": "lora", "attack": "lora", "title": "LoRA", "note": "it needs the model from before the erasure"}
    plain = {"erased": {**control, "broken": 0, "rate": 0.0, "ci": [0.0, 0.138]}, "neutral": control}
    write_json(
        folder / "audit.json",
        {
            "concept": f"object:{name}", "n": 24, "about": {"model": "canvas", "base": "d" * 64, "phrases": [f"a {name}"]},
            "plain": plain, "plain_verdict": "erased", "attacks": [guidance, lora], "limits": ["Passing is evidence, not proof."],
        },
    )  # fmt: skip
    write_json(folder / "attacks" / "guidance.json", {**guidance, "models": {}})
    write_picture(folder / "attacks" / "guidance.png", rows=3)
    return folder


def write_measurement(path: Path, name: str = "cat") -> Path:
    """What `excise measure --json` writes, with an edit."""

    def estimate(value: float) -> dict[str, Any]:
        return {"value": value, "low": value - abs(value) / 10, "high": value + abs(value) / 10, "n": 40}

    def forms(value: float) -> dict[str, Any]:
        return {
            "orthogonal": estimate(value),
            "plain": estimate(value / 2),
            "steering_blind": estimate(1.1),
            "floor": 0.02,
            "at_floor": False,
        }

    def reading(label: str, base: float, edited: float, **other: Any) -> dict[str, Any]:
        words = {"base": forms(base), "edited": forms(edited), "share_left": estimate(edited / base)}
        words |= {"steering_direct": estimate(0.01), "alignment": "undefined"}
        about = {"concept": label, "pictures": 40, "source": "made by canvas at guidance 1", "prompts": [f"a {label}"]}
        return {
            **about,
            "conditional": words,
            "unconditional": words,
            "destruction": estimate(-0.07),
            "rest_loss": estimate(0.1),
            **other,
        }

    others = [reading("object:dog", 9.7, 4.7), reading("style:sketch", 8.0, 7.9)]
    kept = {"object:dog": estimate(0.48), "style:sketch": estimate(0.99)}
    measured = reading(f"object:{name}", 12.3, 0.18, curve=CURVE, maps=MAPS)
    worst = {"concept": "object:dog", **estimate(0.48)}
    return write_json(
        path,
        {
            "model": "canvas", "edits": ["uce"], "unit": "nats per picture", "concepts": [measured], "others": others,
            "collateral": {"mean": estimate(0.735), "worst": worst, "kept": kept},
            "settings": {"seed": 0, "budget": 16000, "evaluations": 15000, "self_made_pictures": False}, "seconds": 43.7,
        },
    )  # fmt: skip


def write_variation(path: Path, name: str = "cat") -> Path:
    """What `excise vary --json` writes."""

    def share(value: float) -> dict[str, Any]:
        return {"value": value, "ci": [value / 2, (1 + value) / 2]}

    rows = [
        ("wording", "plain", 0.95, 0.05, 0.04),
        ("guidance", "10", 0.98, 0.2, 0.05),
        ("image to image", "0.3", 1.0, 0.9, 0.95),
    ]
    conditions = [
        {"group": group, "name": how, "prompt": f"a {name}", "n": 64, "base": share(a), "edited": share(b), "neutral": share(c)}
        for group, how, a, b, c in rows
    ]
    about = {"concept": f"object:{name}", "model": "canvas", "edits": [{"name": "mim"}], "seed": 0, "dtype": "float32"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "conditions": conditions}), encoding="utf-8")
    return path


def write_everything(folder: Path) -> Path:
    """One of each, a concept and a method of every hostile name among them."""
    write_bench(folder / "bench", (*ENTRANTS, *HOSTILE), (*CONCEPTS, *(f"object:{name}" for name in HOSTILE)))
    for name in ("cat", HOSTILE[0]):
        number = str(HOSTILE.index(name)) if name in HOSTILE else name
        write_erasure(folder / f"edit {number}", name)
        write_audit(folder / f"edit {number}-audit", name)
        write_measurement(folder / f"nats {number}.json", name)
        write_variation(folder / f"asked {number}.json", name)
    return folder


def write_picture(path: Path, rows: int = 2, columns: int = 6) -> None:
    """A sheet of discs in seeded colours: no picture of a model, but as large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random, edge = Random(rows), 132
    sheet = Image.new("RGB", (56 + columns * edge, 24 + rows * edge), "white")
    pen = ImageDraw.Draw(sheet)
    for row in range(rows):
        pen.text((8, 24 + row * edge + edge // 2), ("base", "edited", "attacked")[row], fill="black")
        for column in range(columns):
            left, top = 56 + column * edge, 24 + row * edge
            colours = [f"#{random.randrange(0x404040, 0xFFFFFF):06x}" for _ in range(2)]
            pen.rectangle((left, top, left + 127, top + 127), fill=colours[0])
            pen.ellipse((left + 24, top + 24, left + 104, top + 104), fill=colours[1])
    sheet.save(path)
