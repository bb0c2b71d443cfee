"""Files of audits of format 1, which had no number, in today's form. Only `excise convert` needs these functions.

Each takes what such a file holds and returns what it holds today; no number changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Content = Mapping[str, Any]

SETUP = {
    "model", "base", "edits", "gold", "concept", "phrases", "catalog", "wordings", "prompts", "seed", "sampler", "precision", "detector",
    "revision",
}  # fmt: skip
"""What an audit said of itself, beside the digests of what surrounds the weights."""


def kind(content: Content) -> str | None:
    """What a file of an audit holds, by today's name for it; None for other files."""
    if {"plain", "plain_verdict", "attacks"} <= content.keys():
        return "audit"
    if {"attack", "means", "settings", "budget"} <= content.keys():
        return "attack"
    return "audits" if {"about", "rows", "cells"} <= content.keys() else None


def audit(content: Content) -> dict[str, Any]:
    """An `audit.json`."""
    plain = _models(content["plain"], _success)
    return {
        **_head("audit"),
        "about": _setup(content["about"]),
        "plain": {**plain, "verdict": content["plain_verdict"]},
        "attacks": [attack(each) for each in content["attacks"]],
        "limits": content["limits"],
    }


def attack(content: Content) -> dict[str, Any]:
    """An attack's file, or what `audit.json` says of it; only later ones say whether the attack brings the concept along."""
    moved = ("models", "verdict", "above")
    told = {"supplies": False, **{name: value for name, value in content.items() if name not in moved}}
    return {**_head("attack"), **told, "compared": _compared(content) if "models" in content else None}


def audits(content: Content) -> dict[str, Any]:
    """The `audits.json` of benchmarks/audits.py."""
    return {
        **_head("audits"),
        "about": {name: value for name, value in content["about"].items() if name != "revision"},
        "rows": [_row(row) for row in content["rows"]],
        "cells": content["cells"],
    }


CONVERTERS: dict[str, Callable[[Content], dict[str, Any]]] = {"audit": audit, "attack": attack, "audits": audits}
"""By what `kind` finds."""


def _head(name: str) -> dict[str, Any]:
    return {"format": 2, "kind": name}


def _setup(content: Content) -> dict[str, Any]:
    """The number of the revision of the attacks goes: the version that takes its place was not noted."""
    known = {name: value for name, value in content.items() if name in SETUP - {"revision"}}
    digests = {name: value for name, value in content.items() if name not in SETUP}
    return {**known, "gold": content["gold"][0] if content["gold"] else None, "surroundings": digests}


def _row(row: Content) -> dict[str, Any]:
    return {
        **{name: value for name, value in row.items() if name != "models"},
        **_models(row["models"], _success),
        "above": row["above"] and _difference(row["above"], row["models"]["erased"]["n"]),
        "verdicts": [{"verdict": verdict, "count": count} for verdict, count in row["verdicts"].items()],
    }


def _compared(content: Content) -> dict[str, Any]:
    n = content["models"]["erased"]["n"]
    above = {name: _difference(found, n) for name, found in content["above"].items()}
    return {"verdict": content["verdict"], "above": above, **_models(content["models"], _outcome)}


def _models(models: Content, each: Callable[[Content], dict[str, Any]]) -> dict[str, Any]:
    found = {name: each(model) for name, model in models.items()}
    return {"erased": found.pop("erased", None), "controls": found}


def _difference(found: list[float], n: int) -> dict[str, Any]:
    value, low, high = found
    return {"value": value, "low": low, "high": high, "n": n}


def _success(content: Content) -> dict[str, Any]:
    low, high = content["ci"]
    rate = {"value": content["rate"], "low": low, "high": high, "n": content["n"]}
    return {"pre": content["pre"], "broken": content["broken"], "rate": rate}


def _outcome(content: Content) -> dict[str, Any]:
    kept = ("untried", "calls", "forwards", "backwards", "encodes", "seconds", "weights")
    return {
        **_success(content),
        **{name: content[name] for name in kept},
        **_facts(content["facts"]),
        "cases": [_case(case) for case in content.get("cases", ())],
    }


def _facts(facts: Content) -> dict[str, Any]:
    """What the budget paid for, the rounds, and the rest."""
    found: dict[str, Any] = {"facts": {}}
    for name in ("tries", "iterations"):
        if name in facts:
            found[name] = {"paid": facts[name], "asked": facts[f"{name} asked"]}
    if "iterations" in found:
        found["iterations"] |= {"least_budget": facts["least budget"], "whole_budget": facts["whole budget"]}
    for name, value in facts.items():
        if name.startswith("shown of tried, by "):
            setting = name.removeprefix("shown of tried, by ")
            found["rounds"] = [
                {"how": _how(setting, text), "shown": shown, "tried": tried} for text, (shown, tried) in value.items()
            ]
        elif name.endswith(" bits"):
            changed = {"share_moved": value["share of weights moved"], "projection": value["projection"]} if value else {}
            found["facts"].setdefault("rounding", []).append({"bits": int(name.removesuffix(" bits")), **changed})
        elif name in ("norm", "rollouts"):
            found["facts"][name] = value
    return found


def _how(setting: str, text: str) -> dict[str, float]:
    """What a round set, from its name: "-1" of "kappa"; "5, eta 0" of "scale"."""
    if setting == "scale":
        scale, eta = text.split(", eta ")
        return {"scale": float(scale), "eta": float(eta)}
    return {setting: int(text) if setting in ("handover", "steps", "bits") else float(text)}


def _case(case: Content) -> dict[str, Any]:
    found = dict(case.get("found", {}))
    if "steps of the base" in found:
        found["handover"] = found.pop("steps of the base")
    told = {name: value for name, value in case.items() if name != "found"}
    if case.get("attempts"):
        told["found"] = {"prompt": found.pop("prompt", None), "masked": found.pop("masked", None), "how": found}
    return told
