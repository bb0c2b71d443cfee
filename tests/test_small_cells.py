"""Cells of docs/benchmark, made small, stay what they were: to the bit on a machine like the one that wrote them, in their figures on any."""

from __future__ import annotations

import json

import pytest

import small_cells


def test_they_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # with all of their work
    told = json.loads(small_cells.FILE.read_text(encoding="utf-8"))
    known, found = told["cells"], small_cells.cells()
    assert found.keys() == known.keys()
    for name, cell in known.items():
        assert found[name]["change"] == pytest.approx(cell["change"], rel=2e-2), name
        assert found[name]["brightness"] == pytest.approx(cell["brightness"], abs=0.02), name
        assert found[name]["nats"] == pytest.approx(cell["nats"], rel=0.05, abs=0.05), name
    if told["machine"] == small_cells.machine():
        assert found == known
