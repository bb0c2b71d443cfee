"""Tables of audits: what is summed, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import audit_table as benchmark
import made_up
from excise.results.audit_result import Verdict

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["cat", "--methods", "mim", "foo"], "not audited on all of these concepts: foo;"),
        (["giraffe"], "no method was audited on object:giraffe"),
    ],
)
def test_what_is_not_there_is_named(asked: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["audit_table.py", str(DOCS / "benchmark" / "audits"), "--concepts", *asked])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert message in capsys.readouterr().err.replace("\n", " ")


def audited(
    folder: Path, method: str, concept: str, rates: dict[str, tuple[int, int]], verdict: Verdict, note: bool = False
) -> None:
    """Without attack one prompt shows it everywhere; with it `broken` more of the erased model and of the neutral control."""
    attacks = [
        made_up.attack(
            text,
            made_up.compared(verdict, made_up.outcome(1, own, 8), neutral=made_up.outcome(1, other, 8)),
        )
        for text, (own, other) in rates.items()
    ]
    noted = [made_up.attack("p4d", note="too small")] if note else []
    found = made_up.audit(*attacks, *noted, concept=concept, erased=1, prompts=8, verdict="not erased", neutral=1)
    found.write(folder / "audits" / method / concept.replace(":", "-") / "audit.json")


def test_a_table_by_hand(tmp_path: Path) -> None:
    """Two concepts are summed; an attack that could not be made is left out; a method with one of them only is, too."""
    audited(tmp_path, "mim", "object:cat", {"seeds:quick": (0, 2), "inversion": (3, 1)}, "not revived", note=True)
    audited(tmp_path, "mim", "style:neon", {"seeds:quick": (1, 2), "inversion": (4, 1)}, "revived")
    audited(tmp_path, "uce_preserve=catalog", "object:cat", {"seeds:quick": (0, 3), "inversion": (7, 1)}, "revived")
    whole = benchmark.read(tmp_path, ["cat", "style:neon"])
    assert benchmark.table(whole) == [
        "| | no attack | `seeds` | `inversion` * |",
        "|---|---|---|---|",
        "| base model, words taken out | 2 | 6 | 4 |",
        "| `mim` | 2 | 3, 1 revived | 9, 1 revived |",
    ]
    assert benchmark.table(benchmark.read(tmp_path, ["cat"]), upright=True) == [
        "| | base model, words taken out | `mim` | `uce:preserve=catalog` |",
        "|---|---|---|---|",
        "| no attack | 1 | 1 | 1 |",
        "| `seeds` | 3 to 4 | 1 | 1, revived |",
        "| `inversion` * | 2 | 4 | 8, revived |",
    ]
    audited(tmp_path, "rece", "object:bear", {"seeds": (2, 0), "seeds:quick": (1, 0)}, "revived")
    assert benchmark.table(benchmark.read(tmp_path, ["bear"]))[0] == "| | no attack | `seeds` | `seeds:quick` |"
    with pytest.raises(FileNotFoundError, match="no method was audited on object:dog"):
        benchmark.read(tmp_path, ["dog"])
