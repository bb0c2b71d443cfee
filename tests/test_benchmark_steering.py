"""Guidance by steering coefficient: what is matched, added up and left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import made_up
import steering as benchmark
from excise.results.audit_result import Outcome, Round, Verdict


def measured(folder: Path, method: str, name: str, coefficient: float | None) -> None:
    words = made_up.words(steering=None if coefficient is None else made_up.figure(coefficient))
    made_up.cell("m", "object:cat", information=words).write(folder / "cells" / method / f"{name}.json")


def audited(folder: Path, method: str, name: str, negated: tuple[int, int], broken: int, verdict: Verdict) -> None:
    def model(pre: int, broken: int, shown: int, tried: int) -> Outcome:
        rounds = (Round(how={"kappa": 3.0}, shown=8, tried=8), Round(how={"kappa": -1.0}, shown=shown, tried=tried))
        return made_up.outcome(pre, broken, 8, rounds=rounds if tried else ())

    compared = made_up.compared(verdict, model(1, broken, *negated), neutral=model(0, 2, 1, 8))
    found = made_up.audit(made_up.attack("noise", note="none"), made_up.attack("guidance", compared), prompts=8, neutral=0)
    found.write(folder / "audits" / method / name / "audit.json")


def test_a_table_by_hand(tmp_path: Path) -> None:
    first, second, audits = tmp_path / "first", tmp_path / "second", tmp_path / "audits"
    for method, coefficient in (("away", -0.3), ("gone", 0.0), ("silent", 0.05), ("all shown", 0.9), ("undefined", None)):
        measured(first, method, "object-cat-s0", coefficient)
    measured(second, "gone", "object-cat-s0", -0.9)  # the first benchmark counts
    measured(second, "gone", "object-dog-s0", 0.01)
    audited(audits, "away", "object-cat-s0", (6, 8), 7, "revived")
    audited(audits, "gone", "object-cat-s0", (0, 7), 0, "not revived")
    audited(audits, "gone", "object-dog-s0", (1, 8), 3, "not revived")
    audited(audits, "silent", "object-cat-s0", (0, 8), 1, "not revived")
    audited(audits, "all shown", "object-cat-s0", (0, 0), 7, "not revived")
    audited(audits, "undefined", "object-cat-s0", (8, 8), 7, "revived")
    audited(audits, "never measured", "object-cat-s0", (8, 8), 7, "revived")
    assert benchmark.table(benchmark.read(audits, [first, second]))[2:] == [
        "| below -0.2 | 1 | 75 % | 12 % | 100 % | 25 % | 1 |",
        "| -0.05 to 0.05 | 2 | 7 % | 12 % | 31 % | 25 % | 0 |",
        "| 0.05 to 0.2 | 1 | 0 % | 12 % | 25 % | 25 % | 0 |",
        "| from 0.2 | 1 | - | 12 % | 100 % | 25 % | 0 |",
    ]


def test_nothing_in_common_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    measured(tmp_path, "m", "object-cat-s0", 0.0)
    monkeypatch.setattr("sys.argv", ["steering.py", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "no erasure in" in capsys.readouterr().err
