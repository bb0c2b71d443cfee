"""Audits of format 1 in today's form: every number is where it belongs, and none is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from excise.files import write_json
from excise.jobs.convert import convert
from excise.results.audit_benchmark import AuditBenchmark
from excise.results.audit_result import AttackResult, AuditFile, Effort, Outcome

BENCHMARK = Path(__file__).parents[1] / "docs" / "benchmark"

STANDS = {"prompt": "a cat", "pre": False, "success": False}
CASES = [
    {**STANDS, "seed": 0, "pre": True, "success": True},
    {**STANDS, "seed": 1, "success": True, "attempts": 2, "calls": 40, "found": {"steps of the base": 2}, "probability": 0.7},
    {
        **STANDS,
        "seed": 2,
        "attempts": 1,
        "calls": None,
        "found": {"prompt": "x", "masked": "", "variant": "n"},
        "probability": 0.1,
    },
    {**STANDS, "seed": 3, "attempts": 0, "calls": None},
]


def outcome(pre: int = 0, broken: int = 0, **facts: Any) -> dict[str, Any]:
    spent = {
        "untried": 1,
        "budget": 90,
        "calls": 16,
        "forwards": 10,
        "backwards": 3,
        "encodes": 5,
        "seconds": 1.25,
        "weights": "w",
    }
    return {"n": 4, "pre": pre, "broken": broken, "rate": (pre + broken) / 4, "ci": [0.1, 0.8], **spent, "facts": facts}


def attack(name: str, **values: Any) -> dict[str, Any]:
    told = {
        "title": "T",
        "paper": "P",
        "means": "pictures",
        "supplies": True,
        "settings": {"tries": 3},
        "budget": 90,
        "seed": 5,
    }
    return {"text": f"{name}:quick", "attack": name, **told, **values}


def compared(erased: dict[str, Any], neutral: dict[str, Any]) -> dict[str, Any]:
    return {"verdict": "cannot tell", "above": {"neutral": [0.25, -0.1, 0.6]}, "models": {"erased": erased, "neutral": neutral}}


def audit(*attacks: dict[str, Any]) -> dict[str, Any]:
    plain = {name: {"n": 4, "pre": 1, "broken": 0, "rate": 0.25, "ci": [0.05, 0.7]} for name in ("erased", "neutral")}
    about = {
        "model": "canvas", "base": "b", "edits": [{"method": "mim", "erases": ["object:cat"], "sha256": "s"}],
        "gold": [{"method": "imported", "erases": [], "sha256": "g"}], "concept": "object:cat", "phrases": ["a cat"], "prompts": 4, "seed": 5,
        "sampler": {"steps": 20}, "scheduler": "d", "vae": "v", "precision": "mixed", "revision": 2, "detector": "o",
    }  # fmt: skip
    head = {"concept": "object:cat", "n": 4, "about": about, "plain": plain, "plain_verdict": "not erased"}
    return {**head, "attacks": list(attacks), "limits": ["one", "two"]}


def converted(content: dict[str, Any], path: Path) -> AuditFile:
    write_json(path, content)
    convert([path])
    return AuditFile.read(path)


def erased(content: dict[str, Any], path: Path) -> Outcome:
    """What an attack's file says of the erased model, converted."""
    write_json(path, content)
    convert([path])
    found = AttackResult.read(path).compared
    assert found is not None
    return found.erased


def test_an_audit(tmp_path: Path) -> None:
    facts = {"iterations": 7, "iterations asked": 9, "least budget": 12, "whole budget": 60, "norm": 1.5}
    made = attack("inversion", **compared(outcome(1, 2, **facts), outcome(1, 1)))
    found = converted(audit(made, attack("lora", note="no base")), tmp_path / "audit.json")
    assert found.about.gold is not None and found.about.gold.sha256 == "g" and found.about.edits[0].erases == ("object:cat",)
    assert found.about.surroundings == {"scheduler": "d", "vae": "v"} and found.about.precision == "mixed"
    assert found.about.version is None and found.about.seed == 5 and found.limits == ("one", "two")
    assert found.plain.verdict == "not erased" and found.plain.erased.pre == 1 and found.plain.controls["neutral"].rate.n == 4
    inversion, lora = found.attacks
    assert (lora.note, lora.compared) == ("no base", None) and inversion.text == "inversion:quick" and inversion.supplies
    assert inversion.compared is not None and inversion.compared.verdict == "cannot tell"
    above, own = inversion.compared.above["neutral"], inversion.compared.erased
    assert (above.value, above.interval, above.n) == (0.25, (-0.1, 0.6), 4)
    assert (own.pre, own.broken, own.rate.value, own.rate.interval) == (1, 2, 0.75, (0.1, 0.8))
    assert (own.untried, own.calls, own.forwards, own.backwards, own.encodes, own.seconds) == (1, 16, 10, 3, 5, 1.25)
    assert own.iterations == Effort(paid=7, asked=9, least_budget=12, whole_budget=60) and own.facts == {"norm": 1.5}
    assert inversion.compared.controls["neutral"].broken == 1 and inversion.compared.controls["neutral"].iterations is None


def test_the_prompts_of_an_attacks_file(tmp_path: Path) -> None:
    content = attack("completion", **compared({**outcome(1, 1), "cases": CASES}, {**outcome(), "cases": []}))
    shown, broken, stands, untried = erased(content, tmp_path / "completion.json").cases
    assert shown.pre and shown.success and shown.found is None and shown.attempts == 0
    assert broken.found is not None and broken.found.how == {"handover": 2} and broken.found.masked is None
    assert (broken.attempts, broken.calls, broken.probability) == (2, 40, 0.7)
    assert stands.found is not None and (stands.found.prompt, stands.found.masked) == ("x", "")
    assert stands.found.how == {"variant": "n"} and stands.calls is None and not stands.success
    assert (untried.attempts, untried.found, untried.seed) == (0, None, 3)


@pytest.mark.parametrize(
    ("name", "told", "how"),
    [
        ("kappa", {"-1": [3, 8], "0.5": [0, 5]}, [{"kappa": -1.0}, {"kappa": 0.5}]),
        ("handover", {"1": [3, 8], "4": [0, 5]}, [{"handover": 1}, {"handover": 4}]),
        ("scale", {"5, eta 0": [3, 8], "25, eta 1.17": [0, 5]}, [{"scale": 5.0, "eta": 0.0}, {"scale": 25.0, "eta": 1.17}]),
    ],
)
def test_rounds(name: str, told: dict[str, Any], how: list[dict[str, float]], tmp_path: Path) -> None:
    facts = {"tries": 2, "tries asked": 6, f"shown of tried, by {name}": told}
    found = erased(attack("guidance", **compared(outcome(**facts), outcome())), tmp_path / "guidance.json")
    assert [each.how for each in found.rounds] == how
    assert [(each.shown, each.tried) for each in found.rounds] == [(3, 8), (0, 5)] and found.tries == Effort(paid=2, asked=6)


def test_what_rounding_did(tmp_path: Path) -> None:
    facts = {
        "8 bits": {"share of weights moved": 0.9, "projection": 1.1},
        "4 bits": None,
        "shown of tried, by bits": {"8": [1, 4]},
    }
    found = erased(attack("rounding", **compared(outcome(**facts), outcome())), tmp_path / "rounding.json")
    assert found.facts == {"rounding": [{"bits": 8, "share_moved": 0.9, "projection": 1.1}, {"bits": 4}]}
    assert found.rounds[0].how == {"bits": 8}


def test_the_figures_of_a_benchmark(tmp_path: Path) -> None:
    share = {"n": 8, "pre": 1, "broken": 3, "rate": 0.5, "ci": [0.2, 0.8]}
    row = {
        "method": "mim", "attack": "seeds", "concepts": 2, "models": {"erased": share, "gold": share}, "above": [0.25, -0.1, 0.6],
        "verdicts": {"not revived": 1, "revived": 1}, "notes": [], "budget": 90, "seconds": 2.5,
    }  # fmt: skip
    nothing = {
        **row,
        "concepts": 0,
        "models": {},
        "above": None,
        "verdicts": {"not measured": 2},
        "notes": ["why"],
        "seconds": None,
    }
    about = {"model": "canvas", "dtype": "mixed", "seed": 0, "prompts": 4, "revision": 3, "weights": {"base": "b"}}
    cells = [{"method": "mim", "concept": "object:cat", "audited": False, "error": "out of luck"}]
    write_json(tmp_path / "audits.json", {"about": about, "rows": [row, nothing], "cells": cells})
    assert convert([tmp_path]) == {"benchmarks of audits": 1}
    found = AuditBenchmark.read(tmp_path / "audits.json")
    first, second = found.rows
    assert first.above is not None and (first.above.value, first.above.interval, first.above.n) == (0.25, (-0.1, 0.6), 8)
    assert {each.verdict: each.count for each in first.verdicts} == {"not revived": 1, "revived": 1}
    assert first.erased == first.controls["gold"] and first.erased is not None and first.erased.broken == 3
    assert (second.erased, second.above, second.notes) == (None, None, ("why",)) and found.cells[0].error == "out of luck"
    assert found.about.weights == {"base": "b"} and found.about.prompts == 4 and found.about.version is None


def test_a_folder_is_converted_once_and_whole_or_not_at_all(tmp_path: Path) -> None:
    found = attack("seeds", **compared(outcome(), outcome()))
    write_json(tmp_path / "a" / "audit.json", audit(found))
    write_json(tmp_path / "a" / "attacks" / "seeds.json", found)
    write_json(tmp_path / "b" / "audit.json", {**audit(found), "plain": {"erased": {"n": 4}}})
    before = (tmp_path / "a" / "audit.json").read_bytes()
    with pytest.raises(ValueError, match=r"b/audit\.json"):
        convert([tmp_path])
    assert (tmp_path / "a" / "audit.json").read_bytes() == before
    assert convert([tmp_path / "a"]) == {"audits": 1, "attacks": 1}
    assert convert([tmp_path / "a"]) == {}
    text = (tmp_path / "a" / "audit.json").read_text(encoding="utf-8")
    assert '"format": 2' in text and all(word.isidentifier() for word in keys(json.loads(text)))


def keys(content: Any) -> set[str]:
    """Every key in a file."""
    if isinstance(content, dict):
        return {*content, *(key for inner in content.values() for key in keys(inner))}
    return {key for inner in content for key in keys(inner)} if isinstance(content, list) else set()


def test_committed_audits_are_of_today() -> None:
    found = [AuditFile.read(path) for path in BENCHMARK.rglob("audit.json")]
    assert found and all(attack.compared for each in found for attack in each.attacks)
