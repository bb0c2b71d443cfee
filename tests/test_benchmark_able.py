"""Which attacks have shown that they can bring a concept back."""

from __future__ import annotations

from pathlib import Path

import pytest

import able
import made_up
from excise.results.audit_result import Verdict


def audited(folder: Path, method: str, attack: str, verdict: Verdict, own: int, knowing: int, pre: int = 0) -> None:
    """Of eight prompts, `own` are broken of the erased model and `knowing` of the base model without the words."""
    outcomes = made_up.outcome(0, own, 8), made_up.outcome(pre, knowing, 8)
    attacks = [made_up.attack(attack, made_up.compared(verdict, outcomes[0], neutral=outcomes[1]))]
    found = made_up.audit(*attacks, concept="object:cat", erased=0, prompts=8, verdict="erased", neutral=pre)
    found.write(folder / "audits" / method / "object-cat" / "audit.json")


def row(folder: Path) -> str:
    return able.table(able.records([folder]))[2]


def test_one_that_revived_an_erasure_is_able(tmp_path: Path) -> None:
    """The audit in which it was furthest above the control is named."""
    audited(tmp_path, "esd", "guidance", "revived", own=5, knowing=1)
    audited(tmp_path, "spm_rank=2", "guidance", "revived", own=7, knowing=1)
    audited(tmp_path, "mim", "guidance", "not revived", own=1, knowing=1)
    assert row(tmp_path) == "| `guidance` | 3 | 2 | `spm:rank=2`, *cat*: 7 of 8 | 1 of 8 | revived one |"


def test_one_that_shows_it_on_a_model_that_knows_it_is_able(tmp_path: Path) -> None:
    """Prompts that showed it by themselves are none of the attack's."""
    audited(tmp_path, "mim", "inversion:quick", "cannot tell", own=0, knowing=4, pre=2)
    assert row(tmp_path) == "| `inversion` | 1 | 0 | - | 4 of 6 | without the words |"


def test_one_that_never_did_either_is_not(tmp_path: Path) -> None:
    audited(tmp_path, "mim", "rounding", "not revived", own=0, knowing=3)
    assert row(tmp_path) == "| `rounding` | 1 | 0 | - | 3 of 8 | no |"


def test_a_folder_without_audits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no audits"):
        able.records([tmp_path])
