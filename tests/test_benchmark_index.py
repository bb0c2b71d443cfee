"""docs/benchmark/README.md says what is beside it: everything, once, and commands that ask for the cells that are there."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

import index as benchmark
import made_up
from excise.files import read_json
from excise.models.names import describe, resolve
from excise.requests.grid import file_name, read_tasks
from excise.results.cell import RETRAINED, Grid
from excise.results.cells import cell_path, stored_cells

PAGE = benchmark.PAGE.read_text(encoding="utf-8")
DERIVED = [entry for entry in benchmark.GRIDS if entry.how is None]


def test_the_page_is_what_the_command_writes() -> None:
    dates = benchmark.dates_on(PAGE)
    assert list(dates) == [entry.name for entry in benchmark.ENTRIES]
    assert all(re.fullmatch(r"2026-\d\d-\d\d( to 2026-\d\d-\d\d)?", date) for date in dates.values())
    assert benchmark.page(dates) == PAGE


def test_everything_is_on_it() -> None:
    there = {name for name in os.listdir(benchmark.FOLDER) if not name.startswith(".")} - {"README.md"}
    assert there == {entry.name for entry in benchmark.ENTRIES}
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links and all((benchmark.FOLDER / link).exists() for link in links)


def test_dates_are_those_of_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """First and last commit of the figures; of a folder, when its files came."""
    monkeypatch.setattr(benchmark, "FOLDER", tmp_path)

    def git(*words: str, date: str = "2026-01-01") -> None:
        about = {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        when = {f"GIT_{who}_DATE": f"{date}T12:00:00" for who in ("AUTHOR", "COMMITTER")}
        benchmark.subprocess.run(
            ["git", *words], cwd=tmp_path, check=True, capture_output=True, env={**os.environ, **about, **when}
        )

    def commit(name: str, text: str, date: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        git("add", "-A")
        git("commit", "-m", text, date=date)

    git("init", "-q")
    commit("a/results.csv", "1", "2026-01-02")
    commit("b/x.json", "1", "2026-01-03")
    commit("a/results.csv", "2", "2026-01-04")
    commit("a/bench.json", "1", "2026-01-05")
    commit("b/x.json", "2", "2026-01-06")
    assert benchmark.committed(benchmark.Entry("a", "", dated="a/results.csv")) == "2026-01-02 to 2026-01-04"
    assert benchmark.committed(benchmark.Entry("b", "")) == "2026-01-03"


DRAWN = {"guidance_scale": "guidance"}
"""Options that say how pictures are made, by their names in a grid's file, where those are others."""


@pytest.mark.parametrize("entry", DERIVED, ids=lambda entry: entry.name)
def test_commands_ask_for_the_cells_that_are_there(entry: benchmark.Entry) -> None:
    """Concepts by the reader of the command line; and pictures, nats and precision are those of the grid's file."""
    out = benchmark.FOLDER / entry.name
    catalog, about = describe(resolve("canvas")).catalog, read_json(out / "bench.json")
    planned, gold = set(), set()
    for command in benchmark._commands(entry):
        verb, asked = shlex.split(command)[1], shlex.split(command)[2:]
        values: dict[str, list[str]] = {}
        flags = [word for word in asked if word.startswith("--no-")]
        pairs = [word for word in asked if word not in flags]
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            values.setdefault(name, []).append(value)
        seeds = [int(seed) for seed in values.get("--seeds", ["0"])]
        tasks = read_tasks([each.replace("_", " ") for each in values["--concepts"][0].split()], catalog)
        methods = [file_name(text) for text in values["--methods"][0].split()]  # some settings of then are refused today
        names = [f"{task.file_name}-s{seed}" for task in tasks for seed in seeds]
        planned |= {cell_path(out, method, name) for method in methods for name in names}
        gold |= {(f"object:{one.partition('=')[0]}", seed) for one in values.get("--gold", []) for seed in seeds}
        assert verb == "bench" and values["--dtype"] == [about["dtype"]]
        assert [int(values[f"--{name}"][0]) for name in ("target-pictures", "other-pictures")] == [
            about["target_pictures"], about["other_pictures"],
        ]  # fmt: skip
        assert int(values.get("--bystander-pictures", ["80"])[0]) == about.get("bystander_pictures", 0)
        drawn = {name: values[f"--{name}"][0] for name in ("steps", "guidance", "size", "scheduler") if f"--{name}" in values}
        assert drawn == {DRAWN.get(name, name): str(value) for name, value in about.get("drawing", {}).items()}
        assert ("--no-information" in flags) == ("information" not in about) and ("--no-quality" in flags) != about["quality"]
        assert int(values.get("--budget", ["8000"])[0]) == about.get("information", 8000)
    cells = stored_cells(out)
    assert planned == {path for path, cell in cells.items() if cell.entrant != RETRAINED}
    assert gold == {(cell.task, cell.seed) for cell in cells.values() if cell.entrant == RETRAINED}


def test_commands_by_hand() -> None:
    """Methods with the same cells share a command; a kind as a whole has a word; what is erased in turn stays so."""
    styles = [each.label for each in describe(resolve("canvas")).catalog.of_kind("style")]
    cells = [made_up.cell(name, style, 1) for name in ("mim:lr=1", "uce") for style in (*styles, "object:cat")]
    turn = made_up.cell("esd", ["object:cat", "style:pixel art"]).model_copy(update={"in_turn": True})
    about = Grid(model="canvas", dtype="mixed", suite="canvas", target_pictures=9, other_pictures=3, quality=False)
    end = "--target-pictures 9 --other-pictures 3 --bystander-pictures 0 --no-quality --no-information --dtype mixed --out docs/benchmark/x"
    assert benchmark.commands([*cells, turn], about, "x") == [
        f'excise bench --methods "mim:lr=1 uce" --concepts "styles object:cat" --seeds 1 {end}',
        f'excise bench --methods "esd" --concepts "object:cat>style:pixel_art" {end}',
    ]
    asked = [benchmark._bystanders(about.model_copy(update={"bystander_pictures": count})) for count in (None, 40, 80)]
    assert asked == [["--bystander-pictures 0"], ["--bystander-pictures 40"], []]
    slow = about.model_copy(update={"drawing": {"steps": 10, "guidance_scale": 2.5, "long_prompts": "chunk"}})
    assert " --steps 10 --guidance 2.5 --long-prompts chunk --dtype" in benchmark.commands(cells, slow, "x")[0]
    exact = made_up.cell("retrained", "object:cat")
    gold = benchmark.commands([made_up.cell("uce", "object:cat"), exact], about.model_copy(update={"information": 8000}), "x")
    assert gold == [
        'excise bench --methods "uce" --concepts "object:cat" --gold cat=canvas-without-cat '
        "--target-pictures 9 --other-pictures 3 --bystander-pictures 0 --no-quality --dtype mixed --out docs/benchmark/x"
    ]
