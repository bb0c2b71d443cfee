"""What is reached of the goals: means, the single worst, and what is in bold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import goals as benchmark
import made_up
from excise.results.cell import Cell
from made_up import figure


def cell(
    name: str, seed: int, erased: float, left: float, steering: float, destroyed: float, others: dict[str, float] | None
) -> Cell:
    words = made_up.words(
        share=figure(left), base=20.0, steering=figure(steering), destruction=destroyed, mean=figure(0.99),
        worst=made_up.named("object:house", 0.9 + left), others=[made_up.named(*other) for other in (others or {}).items()],
    )  # fmt: skip
    kept = {"ira_of_base": 1.0, "cra_of_base": 0.98, "ira_worst": 1.0, "cra_worst": 0.94 + left, "fid_base": figure(100 * left)}
    return made_up.cell("m", f"object:{name}", seed, ua=1 - erased, information=words, **kept)


def entries(tmp_path: Path, cells: dict[str, list[Cell]]) -> dict[str, list[str]]:
    for method, own in cells.items():
        for one in own:
            path = tmp_path / "cells" / method / f"{one.concepts[0][7:]}-s{one.seed}.json"
            one.model_copy(update={"entrant": method}).write(path)
    lines = benchmark.table(benchmark.read([tmp_path], list(cells)))
    rows = [[entry.strip() for entry in line.strip("|").split("|")] for line in lines]
    return {row[0].split(":")[0]: row[1:] for row in rows}


def test_a_table_by_hand(tmp_path: Path) -> None:
    one = [
        cell("cat", 0, 0.03, 0.01, 0.06, 0.1, {"object:dog": 0.97, "object:bird": 1.01}),
        cell("dog", 0, 0.0195, 0.04, -0.02, -0.5, {"object:cat": 1.04}),
    ]
    found = entries(tmp_path, {"m": one, "other": [cell("cat", 0, 0.5, 0.2, -0.5, 0.3, None)]})
    assert found["goal"] == ["`m`, seed 0", "`other`, seed 0"]
    assert found["erasures"] == ["2", "1"]
    assert found["erased − neutral, mean"] == ["**+0.5**", "+48.0"]
    assert found["CRA of base, mean"] == ["98.0", "98.0"]
    assert found["IRA, CRA of the worst concept"] == ["**95**", "**100**"]
    assert found["nats left, mean"] == ["2.5", "20.0"]
    assert found["steering of others, mean distance from 1"] == ["**0.030**", "-"]  # (0.02 + 0.04) / 2
    assert found["steering of others, farthest from 1"] == ["**0.04**", "-"]
    assert found["nats that others keep, worst"] == ["**91**", "**110**"]
    assert found["destroyed, most"] == ["**0.5**", "1.5"]
    assert found["FID of what is kept, mean"] == ["**2.5**", "20.0"]


def test_seeds_have_columns_of_their_own_and_a_single_method_is_not_the_least(tmp_path: Path) -> None:
    cells = [cell("cat", seed, 0.02, 0.01, 0.0, 0.0, None) for seed in (0, 1)]
    found = entries(tmp_path, {"m": cells})
    assert found["erasures"] == ["1", "1"] and found["FID of what is kept, mean"] == ["1.0", "1.0"]


def test_a_method_without_cells_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    entries(tmp_path, {"other": [cell("cat", 0, 0.02, 0.01, 0.0, 0.0, None)]})
    monkeypatch.setattr("sys.argv", ["goals.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "no cells of mim in" in capsys.readouterr().err.replace("\n", " ")
