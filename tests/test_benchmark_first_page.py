"""README's table and picture: figures by hand, what cannot be compared, and whether the committed picture shows the model that ships."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import first_page as benchmark
import made_up
from excise.edits.applied import base_fingerprint
from excise.models import load
from excise.models.built_in import BUILT_IN
from excise.report import before_after
from excise.results.cell import Cell
from made_up import figure
from test_attacks import random_edit

PICTURE = benchmark.ROOT / "docs" / "first_page.png"
CLOSE = 3
"""Levels of 255 by which the mean of pictures may differ: another processor rounds otherwise."""


def cell(method: str, name: str, ua: float, left: float, worst: float = 1.0, seconds: float = 2.0) -> Cell:
    kept = {"ira_of_base": 1.0, "cra_of_base": 0.9, "ira_worst": worst, "cra_worst": 0.95}
    return made_up.cell(method, f"object:{name}", ua=ua, information=made_up.words(share=figure(left)), seconds=seconds, **kept)


def cells() -> list[Cell]:
    return [cell(method, name, ua, 0.5) for method in benchmark.METHODS for name, ua in (("cat", 0.9), ("dog", 1.0))]


class TestTable:
    def test_by_hand(self) -> None:
        own = [one for one in cells() if one.entrant != "mim"] + [
            cell("mim", "cat", 0.98, 0.01),
            cell("mim", "dog", 1.0, 0.02, 0.8),
        ]
        head, _, *rows = benchmark.table(own, cells())
        assert head == "| method | erased, % (best: 98.0) | kept, % (worst) | nats left, % | seconds |"
        assert rows[0] == "| **MiM-MU** | 99.0 | 95.0 (80) | 1.5 | 2.0 |"
        assert rows[2] == "| ESD | 95.0 | 95.0 (95) | 50.0 | 2.0 |" and len(rows) == 5

    def test_cells_of_todays_defaults_take_the_place_of_older_ones(self) -> None:
        own = [cell("mim", name, 0.5, 0.1) for name in ("cat", "dog", "bird")] + [cell("esd", "cat", 0.5, 0.1)]
        found = benchmark.with_own(cells(), own)
        assert {one.concepts[0] for one in found} == {"object:cat", "object:dog"} and len(found) == len(cells())
        rows = benchmark.table(found, cells())[2:]
        assert rows[0].startswith("| **MiM-MU** | 50.0 |") and rows[2].startswith("| ESD | 95.0 |")

    def test_what_cannot_be_compared_is_refused(self) -> None:
        with pytest.raises(ValueError, match="the same concepts"):
            benchmark.table([*cells(), cell("esd", "bird", 1.0, 0.0)], cells())
        elsewhere = [one.model_copy(update={"machine": "another"}) if one.entrant == "spm" else one for one in cells()]
        with pytest.raises(ValueError, match="one machine"):
            benchmark.table(cells(), elsewhere)


class TestPicture:
    def test_every_edit_has_two_rows_and_is_named(
        self, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(BUILT_IN, "tiny canvas", tiny_canvas)
        for name in ("cat", "dog"):
            random_edit(load(tiny_canvas, device="cpu"), name).save_pretrained(tmp_path / name)
        words = ["--edit", tmp_path / "cat", "--edit", tmp_path / "dog", "--picture", tmp_path / "two.png"]
        monkeypatch.setattr(sys, "argv", ["first_page.py", *map(str, words)])
        benchmark.main()
        with Image.open(tmp_path / "two.png") as two:
            about = json.loads(two.info[benchmark.ABOUT])
            assert two.height == 2 * (before_after.HEADER + 2 * (before_after.EDGE + before_after.GAP))
        assert [one["concepts"] for one in about] == [["object:cat"], ["object:dog"]]

    def test_the_committed_one_is_of_the_model_that_ships(self) -> None:
        """The base model's row is made again; of the edited one it is told how its edit is made."""
        with Image.open(PICTURE) as committed:
            about, shown = json.loads(committed.info[benchmark.ABOUT])[0], np.asarray(committed.convert("RGB"), dtype=float)
        model = load("canvas", device="cpu")
        targets = [model.catalog.resolve(label) for label in about["concepts"]]
        columns = before_after.panels(model.catalog, targets, about["seed"])
        pictures = model.sample([panel.prompt for panel in columns], [panel.seed for panel in columns])
        again = before_after.draw([panel.label for panel in columns], {"base": list(map(before_after.to_image, pictures))})
        row = slice(before_after.HEADER, before_after.HEADER + before_after.EDGE)
        assert about["method"] == "mim" and about["base"] == base_fingerprint(model)
        assert np.abs(np.asarray(again, dtype=float)[row] - shown[row]).mean() < CLOSE
